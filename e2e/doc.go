// Package e2e tests thaw from the outside: real VMs, real snapshots, real page
// faults, through the HTTP interface and the program.
package e2e
