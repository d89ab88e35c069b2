// A greeting, and the answer to a question that snapshots raise: who am I?
//
//     {"name": "Ada"}   ->  {"message": "Hello, Ada!"}
//     {"who": true}     ->  what must differ between clones of one snapshot
//
// What is loaded and computed out here runs once, when the function is deployed:
// it is in the snapshot, and every start after that finds it done.

import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

const greetings = { en: 'Hello', de: 'Hallo', fr: 'Bonjour', es: 'Hola', it: 'Ciao' };

// Drawn before the snapshot: the same in every clone.
const born = randomUUID();

// What a function has to do once in every clone. Outside of thaw there is no global
// of that name, and nothing to do.
let restored = null;
globalThis.thaw?.afterRestore(() => {
  restored = new Date().toISOString();
});

export const handler = async (event, context) => {
  if (event?.who) return who();
  return { message: `${greetings[event?.language] ?? greetings.en}, ${event?.name ?? 'world'}!` };
};

// Everything but the first two is made now, after the start: no two clones may agree.
const who = () => ({
  born,
  restored,
  instance: readFileSync('/run/thaw/instance-id', 'utf8').trim(),
  uuid: randomUUID(),
  bytes: randomBytes(16).toString('hex'),
  integer: randomInt(2 ** 48 - 1),
  random: Math.random(),
  time: new Date().toISOString(),
});
