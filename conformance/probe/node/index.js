'use strict';
// The conformance suite's function in JavaScript: it says what a clone sees.
//
// What it notes when it is loaded, before the snapshot, is the same in every clone.
// The fields of its reply are those of Report in report.go.

const crypto = require('node:crypto');
const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const util = require('node:util');

const MARK = '/tmp/mark';
const PATTERN = 'this was there before a snapshot'; // as long as a token
const COPIES = 2048;

const read = (path) => fs.readFileSync(path, 'utf8').trim();
const monotonic = () => Number(process.hrtime.bigint());
// A timer may fire up to a millisecond early, as the event loop counts whole ones.
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms + 1));

const identity = () => ({
  instance: read('/run/thaw/instance-id'),
  hostname: os.hostname(),
  machine: read('/etc/machine-id'),
  boot: read('/proc/sys/kernel/random/boot_id'),
});

const moment = () => ({ wall_ns: Date.now() * 1e6, mono_ns: monotonic(), identity: identity() });

// Every generator that Node.js has, some of which draw in advance or in other threads.
async function draw() {
  return {
    '/dev/urandom': device(),
    'crypto.randomBytes': crypto.randomBytes(16).toString('hex'),
    'crypto.randomBytes in a thread': (await util.promisify(crypto.randomBytes)(16)).toString('hex'),
    'crypto.randomUUID': crypto.randomUUID(),
    'crypto.randomInt': String(crypto.randomInt(2 ** 48 - 1)),
    'crypto.webcrypto': Buffer.from(crypto.webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    'crypto.generateKeyPair': crypto.generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x,
    'Math.random': `${Math.random()} ${Math.random()}`,
  };
}

function device() {
  const fd = fs.openSync('/dev/urandom');
  const bytes = Buffer.alloc(16);
  fs.readSync(fd, bytes);
  fs.closeSync(fd);
  return bytes.toString('hex');
}

// Counts how often the monotonic clock went backwards in many readings.
function backward() {
  let count = 0;
  let last = process.hrtime.bigint();
  for (let i = 0; i < 500; i++) {
    const now = process.hrtime.bigint();
    if (now < last) count++;
    last = now;
  }
  return count;
}

// How long a sleep was by the monotonic and by the wall clock.
async function nap(ms) {
  const wall = Date.now();
  const mono = monotonic();
  await sleep(ms);
  return { mono_ns: monotonic() - mono, wall_ns: (Date.now() - wall) * 1e6 };
}

// What is all over the buffer, or that it is not all the same.
function content() {
  const first = BUFFER.toString('latin1', 0, PATTERN.length);
  return BUFFER.equals(Buffer.from(first.repeat(COPIES), 'latin1')) ? first : 'a mixture';
}

const files = () => Object.fromEntries(fs.readdirSync('/tmp').map((name) => [name, read(`/tmp/${name}`)]));

function connections() {
  const found = [];
  for (const kind of ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6']) {
    if (!fs.existsSync(`/proc/net/${kind}`)) continue;
    for (const line of read(`/proc/net/${kind}`).split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      found.push({ kind, local: fields[1], remote: fields[2] });
    }
  }
  return found;
}

// Tries an address outside (RFC 5737 keeps it for documentation).
function reach() {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    socket.connect(9, '192.0.2.1', (error) => {
      socket.close();
      resolve(error ? util.getSystemErrorMap().get(error.errno)[1] : 'reached');
    });
  });
}

// The two ends of a connection within this guest.
function loop() {
  return new Promise((resolve, reject) => {
    let near;
    const server = net.createServer((far) => { server.close(); resolve({ near, far }); });
    server.listen(0, '127.0.0.1', () => { near = net.connect(server.address().port, '127.0.0.1'); near.on('error', reject); });
  });
}

function echo(token) {
  return new Promise((resolve) => {
    ends.far.once('data', (data) => resolve(data.toString()));
    ends.near.write(token);
  });
}

const hooks = { before: 0, after: 0 };
let restored = {};
let born, drawn, ends;

thaw.beforeSnapshot(async () => {
  hooks.before++;
  ends = await loop();
  drawn = await draw();
  born = moment();
});
thaw.afterRestore(() => {
  hooks.after++;
  restored = moment();
});

const BUFFER = Buffer.alloc(PATTERN.length * COPIES, PATTERN, 'latin1');
fs.writeFileSync(MARK, PATTERN);

exports.handler = async (event) => {
  const served = moment();
  const found = { memory: content(), files: files() };
  BUFFER.fill(event.token, 'latin1');
  fs.writeFileSync(MARK, event.token);
  const report = {
    born,
    restored,
    served,
    before: hooks.before,
    after: hooks.after,
    drawn_before: drawn,
    drawn: await draw(),
    backward: backward(),
    nap: await nap(event.nap_ms),
    found,
    environ: { ...process.env },
    proc_environ: read('/proc/self/environ'),
    interfaces: fs.readdirSync('/sys/class/net'),
    connections: connections(),
    reach: await reach(),
    secret: read('/run/thaw/secrets/thaw-conformance'),
    echo: await echo(event.token),
  };
  await sleep(event.hold_ms);
  report.left = { memory: content(), files: files() };
  report.ended = moment();
  return report;
};
