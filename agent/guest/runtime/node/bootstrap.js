'use strict';
// Runs a Node.js function under the AWS Lambda Runtime API, 2018-06-01.
//
// The module named by _HANDLER is loaded once. With snap-start, hooks run and
// restore/next marks where the snapshot is taken; after it every clone reseeds its
// random numbers. Then events are served one at a time.
//
// Only what every function needs is loaded here: each page this script touches is
// part of every function's working set. So it speaks HTTP by itself, over one
// kept-alive connection to the agent's unix socket.

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');

const API = '/2018-06-01/runtime/';

/** An error with a type of Lambda's own. */
class Fault extends Error {
  constructor(kind, message, trace) {
    super(message);
    this.name = kind;
    if (trace !== undefined) this.stack = trace;
  }
}

/** An HTTP/1.1 client for the agent's server, which always sends a length. */
class Client {
  constructor(address) {
    this.address = address;
    this.socket = null;
    this.waiting = null; // of the one request under way: {resolve, reject}
    this.chunks = [];
    this.head = null;
  }

  get busy() { return this.waiting !== null; }

  get(where) { return this.request('GET', where, '', ''); }

  post(where, body, kind = '') { return this.request('POST', where, body, kind); }

  /** Resolves to {status, headers with names in lower case, body}. */
  request(method, where, text, kind) {
    const body = Buffer.from(text);
    let head = `${method} ${API}${where} HTTP/1.1\r\nHost: agent\r\n`;
    if (method === 'POST') head += `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
    if (kind) head += `Lambda-Runtime-Function-Error-Type: ${/^[\x20-\x7e]+$/.test(kind) ? kind : 'Unhandled'}\r\n`;
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      if (this.socket === null) this.connect();
      this.socket.ref();
      this.socket.write(head + '\r\n');
      if (body.length > 0) this.socket.write(body);
    });
  }

  connect() {
    this.socket = net.connect(this.address);
    this.chunks = [];
    this.head = null;
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('error', (error) => this.fail(error));
    this.socket.on('close', () => this.fail(new Error('the Runtime API closed the connection')));
  }

  fail(error) {
    this.socket = null;
    const waiting = this.waiting;
    this.waiting = null;
    if (waiting !== null) waiting.reject(error);
  }

  take(chunk) {
    this.chunks.push(chunk);
    if (this.head === null && !this.takeHead()) return;
    const got = this.chunks.reduce((n, c) => n + c.length, 0);
    if (got < this.head.length) return;
    const { status, headers } = this.head;
    const body = Buffer.concat(this.chunks);
    this.chunks = [];
    this.head = null;
    if (headers.connection === 'close') {
      this.socket.destroy();
      this.socket = null;
    } else {
      this.socket.unref(); // the function alone decides how long the event loop lives
    }
    const waiting = this.waiting;
    this.waiting = null;
    waiting.resolve({ status, headers, body });
  }

  takeHead() {
    const data = Buffer.concat(this.chunks);
    this.chunks = [data];
    const end = data.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const lines = data.toString('latin1', 0, end).split('\r\n');
    const headers = {};
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(':');
      headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.head = { status: Number(lines[0].split(' ')[1]), headers, length: Number(headers['content-length'] ?? 0) };
    this.chunks = [data.subarray(end + 4)];
    return true;
  }
}

/** A xoshiro128** generator (Blackman and Vigna, 2018), which can be seeded again. */
class Generator {
  constructor() {
    this.state = new Uint32Array(4);
    this.source = fs.openSync('/dev/urandom');
  }

  seed() { fs.readSync(this.source, this.state); }

  next() {
    const s = this.state;
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** A number from 0 to 1 with 53 bits, as Math.random has it. */
  random() { return ((this.next() >>> 5) * 0x4000000 + (this.next() >>> 6)) / 0x20000000000000; }
}

/** Gives Math a random that can be seeded again: V8's own goes on in all clones alike. */
function replaceRandom() {
  const generator = new Generator();
  generator.seed();
  Math.random = function random() { return generator.random(); };
  return generator;
}

/**
 * Makes user-space generators differ between clones of one snapshot. The kernel's
 * has been reseeded by the agent. OpenSSL reseeds itself when reseed.so is loaded
 * (see reseed.go), which Node takes for a module that says nothing.
 */
function reseed(generator) {
  generator.seed();
  try {
    process.dlopen({ exports: {} }, path.join(process.env.LAMBDA_RUNTIME_DIR, 'reseed.so'));
  } catch (error) {
    if (!String(error.message).includes('did not self-register')) throw error;
  }
  forgetDrawn();
}

/** Uses up what node:crypto has drawn in advance: 128 UUIDs and 1024 integers. */
function forgetDrawn() {
  if (!process.moduleLoadList.includes('NativeModule internal/crypto/random')) return;
  const crypto = require('node:crypto');
  for (let i = 0; i < 128; i++) crypto.randomUUID();
  for (let i = 0; i < 1024; i++) crypto.randomInt(1);
}

/** Collects garbage, so that it is none of a clone's pages. Functions see no gc. */
function settle() {
  const v8 = require('node:v8');
  v8.setFlagsFromString('--expose-gc');
  require('node:vm').runInNewContext('gc')();
  v8.setFlagsFromString('--no-expose-gc');
}

/** What functions find as the global thaw. */
class Hooks {
  constructor() {
    this.before = [];
    this.after = [];
    const add = (list) => (hook) => {
      if (typeof hook !== 'function') throw new TypeError('a hook is a function');
      list.push(hook);
    };
    globalThis.thaw = Object.freeze({ beforeSnapshot: add(this.before), afterRestore: add(this.after) });
  }

  async runBefore() {
    while (this.before.length > 0) await this.before.pop()(); // the last registered is the first to run
  }

  async runAfter() {
    for (const hook of this.after) await hook();
  }
}

/** Resolves to the function that "dir/module.name" or "module.nested.name" names. */
async function loadHandler(root, name) {
  const at = name.lastIndexOf('/') + 1;
  const [module, ...names] = name.slice(at).split('.');
  if (!module || names.length === 0 || names.includes('')) {
    throw new Fault('Runtime.MalformedHandlerName', `Bad handler '${name}': write it as module.function`);
  }
  const shown = name.slice(0, at) + module;
  let found = await load(path.join(root, shown), shown);
  for (const part of names) found = found?.[part];
  if (found === undefined) throw new Fault('Runtime.HandlerNotFound', `${name} is undefined or not exported`);
  if (typeof found !== 'function') throw new Fault('Runtime.HandlerNotFound', `${name} is not a function`);
  return found;
}

/** Resolves to the exports of a file whose name has no ending. */
async function load(base, shown) {
  const file = ['.js', '.mjs', '.cjs'].map((ending) => base + ending).find((name) => fs.existsSync(name));
  if (file === undefined) throw new Fault('Runtime.ImportModuleError', `Error: Cannot find module '${shown}'`);
  try {
    return await loadFile(file);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault('Runtime.UserCodeSyntaxError', `SyntaxError: ${error.message}`, error.stack);
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
      throw new Fault('Runtime.ImportModuleError', `Error: ${error.message}`, error.stack);
    }
    throw error;
  }
}

async function loadFile(file) {
  if (!file.endsWith('.mjs')) {
    try {
      return require(file);
    } catch (error) {
      if (!['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE'].includes(error?.code)) throw error;
    }
  }
  const { pathToFileURL } = require('node:url');
  return import(pathToFileURL(file).href);
}

/** Lambda's error object of whatever was thrown. */
function describe(error) {
  if (error instanceof Error || Object.prototype.toString.call(error) === '[object Error]') {
    return { errorType: String(error.name), errorMessage: String(error.message), trace: String(error.stack ?? '').split('\n') };
  }
  let text;
  try {
    text = String(error);
  } catch {
    text = '<no message: toString failed>'; // a broken toString must not hide the error
  }
  return { errorType: typeof error, errorMessage: text, trace: [] };
}

/** Logs an error object and returns it encoded. */
function tell(object) {
  const { errorType, errorMessage, trace } = object;
  fs.writeSync(2, `[ERROR] ${errorType}: ${errorMessage}\n${trace.slice(1).map((line) => line + '\n').join('')}`);
  return JSON.stringify(object);
}

function parse(text) {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function newContext(headers, settle) {
  const env = process.env;
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    clientContext: parse(headers['lambda-runtime-client-context']),
    identity: undefined,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    succeed: (result) => settle.now(null, result),
    fail: (error) => settle.now(error),
    done: (error, result) => settle.callback(error, result),
  };
}

/**
 * Calls the handler, and resolves when there is a result: that of its promise, or
 * what it gave to its callback, in which case everything else it has begun is waited
 * for, unless its context says otherwise. When nothing can happen any more without
 * a result, the result is nothing, as Lambda has it.
 */
function call(handler, event, headers, loop) {
  return new Promise((resolve, reject) => {
    const bad = (error) => error !== undefined && error !== null;
    const settle = {
      now: (error, result) => (bad(error) ? reject(error) : resolve(result)),
      callback: (error, result) => {
        if (bad(error) || !context.callbackWaitsForEmptyEventLoop) settle.now(error, result);
        else loop.idle = () => resolve(result);
      },
    };
    const context = newContext(headers, settle);
    loop.idle = () => resolve(undefined);
    const returned = handler(event, context, settle.callback);
    if (typeof returned?.then === 'function') returned.then(resolve, reject);
  });
}

function decode(body) {
  try {
    return body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new Fault('Runtime.UnmarshalError', `Unable to unmarshal input: ${error.message}`);
  }
}

function encode(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch (error) {
    throw new Fault('Runtime.MarshalError', `Unable to marshal response: ${error.message}`);
  }
}

/** Runs the handler on one event and posts what came of it. */
async function serveOne(client, handler, { headers, body }, loop) {
  const id = headers['lambda-runtime-aws-request-id'];
  let reply;
  try {
    reply = encode(await call(handler, decode(body), headers, loop));
  } catch (error) {
    const failure = describe(error);
    await client.post(`invocation/${id}/error`, tell(failure), failure.errorType);
    return;
  }
  const { status, body: answer } = await client.post(`invocation/${id}/response`, reply);
  if (status === 413) fs.writeSync(2, `[ERROR] the reply is too large: ${answer}\n`);
}

/** Serves the events that source has, until that says that there are no more. */
async function serve(client, source, handler, loop) {
  for (;;) {
    const request = await client.get(source);
    if (request.status === 204) return;
    if (request.status !== 200) throw new Error(`${source} answered with status ${request.status}`);
    const trace = request.headers['lambda-runtime-trace-id'];
    if (trace) process.env._X_AMZN_TRACE_ID = trace;
    else delete process.env._X_AMZN_TRACE_ID;
    await serveOne(client, handler, request, loop);
  }
}

/** Runs the hooks around the snapshot. Resolves in the clone. */
async function snapshotPoint(client, hooks, generator) {
  try {
    await hooks.runBefore();
    reseed(generator); // so that a clone finds it in memory, and a failure shows now
    settle();
  } catch (error) {
    await fail(client, 'init/error', describe(error));
  }
  const { status } = await client.get('restore/next');
  if (status !== 200) throw new Error(`restore/next answered with status ${status}`);
  try {
    reseed(generator);
    await hooks.runAfter();
  } catch (error) {
    await fail(client, 'restore/error', describe(error));
  }
}

/** Reports the end of this runtime, with the invocation under way if there is one. */
async function fail(client, where, object) {
  try {
    const text = tell(object);
    if (!client.busy) await client.post(where, text, object.errorType);
  } finally {
    process.exit(1);
  }
}

/** Ends the runtime, as Lambda does, by an error that nobody caught. */
function failUncaught(client) {
  process.on('uncaughtException', (error) => fail(client, 'init/error', describe(error)));
  process.on('unhandledRejection', (reason) => {
    const { errorType, errorMessage, trace } = describe(reason);
    fail(client, 'init/error', { errorType: 'Runtime.UnhandledPromiseRejection', errorMessage: `${errorType}: ${errorMessage}`, trace });
  });
}

async function main() {
  const client = new Client(process.env.THAW_RUNTIME_SOCKET);
  delete process.env.THAW_RUNTIME_SOCKET;
  const primed = process.env.THAW_PRIME;
  delete process.env.THAW_PRIME;
  failUncaught(client);
  const generator = replaceRandom();
  const hooks = new Hooks();
  let handler;
  try {
    handler = await loadHandler(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
    await new Promise(setImmediate); // what was rejected meanwhile is reported before
  } catch (error) {
    await fail(client, 'init/error', describe(error));
  }
  const loop = { idle: () => {} }; // what to do when the function has nothing left to do
  process.on('beforeExit', () => loop.idle());
  if (primed) {
    await serve(client, 'prime/next', handler, loop);
    loop.idle = () => {};
    delete process.env._X_AMZN_TRACE_ID;
  }
  if (process.env.AWS_LAMBDA_INITIALIZATION_TYPE === 'snap-start') await snapshotPoint(client, hooks, generator);
  await serve(client, 'invocation/next', handler, loop);
}

main();
