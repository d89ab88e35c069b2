// Uses the package that package.json asks for.
const { randomUUID } = require('node:crypto');
const ms = require('ms');

exports.handler = async (event) => ({ version: String(ms(event)), drawn: randomUUID() });
