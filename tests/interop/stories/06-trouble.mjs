// Baileys in trouble that the sandbox makes on purpose.

import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { CUT } from '../lib/baileys.mjs';
import { story } from '../lib/story.mjs';

/** Alice is a companion of Ana's phone; Carla has a phone alone. */
async function two(cast) {
  const [ana, carla] = [await cast.phone('Ana'), await cast.phone('Carla')];
  const alice = await cast.companion(ana, 'alice');
  return { ana, carla, alice, say: (text) => carla.send(ana.number, text) };
}

const hears = async (companion, id, text) => assert.equal((await companion.messageWith(id)).text, text);

story('a refused message is reported with its code and reaches nobody', async (cast) => {
  cast.expected.push(/error 463/);
  const { carla, alice } = await two(cast);
  await cast.sandbox.faults({ reject: { error: 463, times: 1 } });
  const refused = await alice.send(carla.jid, 'refused');
  const update = await alice.updates.find('the refusal', ({ id, status }) => id === refused && status === 0);
  assert.equal(update.messageStubParameters[0], '463');
  const accepted = await alice.send(carla.jid, 'accepted');
  assert.equal((await carla.message(accepted)).text, 'accepted');
  const messages = await carla.messages();
  assert.deepEqual(messages.map(({ text }) => text), ['accepted']);
  const { reject } = await cast.sandbox.get('/faults');
  assert.equal(reject.fired, 1);
});

story('a message delivered twice is read once', async (cast) => {
  // The copy cannot be decrypted: its key is used up.
  cast.expected.push(/Key used already or never filled|MessageCounterError/, /failed to decrypt message/);
  const { alice, say } = await two(cast);
  await cast.sandbox.faults({ duplicate: { times: 1, device: alice.jid } });
  const twice = await say('twice');
  await hears(alice, await say('behind it'), 'behind it');
  assert.equal(alice.arrived.all((id) => id === twice).length, 2);
  assert.equal(alice.messages.all(({ text }) => text === 'twice').length, 1);
});

story('a delay keeps the order', async (cast) => {
  const { alice, say } = await two(cast);
  await cast.sandbox.faults({ delay: { ms: 300, probability: 0.5, device: alice.jid } });
  const texts = Array.from({ length: 10 }, (_, n) => `delayed ${n}`);
  const ids = [];
  for (const text of texts) ids.push(await say(text));
  for (const [n, id] of ids.entries()) await hears(alice, id, texts[n]);
  // What comes in quick succession Baileys may work on out of order; at its socket it is in order.
  assert.deepEqual(alice.arrived.all((id) => ids.includes(id)), ids);
});

story('an unknown fault is refused by name', async (cast) => {
  await assert.rejects(cast.sandbox.faults({ gremlins: {} }), /400 .*gremlins/);
});

story('a cut connection, and a stream error, leave the client able to return', async (cast) => {
  cast.expected.push(...CUT, /"code":"503".*stream errored out/);
  const { alice, say } = await two(cast);
  await cast.sandbox.drop(alice.jid);
  await alice.closed(428);
  await hears(alice, await say('while you were cut off'), 'while you were cut off');
  await cast.sandbox.trouble(alice.jid, 'stream-error', { code: 503 });
  await alice.closed(503);
  await hears(alice, await say('and again'), 'and again');
});

story('a second login of the same device replaces the first', async (cast) => {
  cast.expected.push(...CUT, /conflict.*stream errored out/);
  const { alice, say } = await two(cast);
  const first = alice.sock;
  await alice.start();
  await alice.closed(440);
  assert.notEqual(alice.sock, first);
  await hears(alice, await say('to the second'), 'to the second');
});

story('a frozen connection brings everything when it thaws', async (cast) => {
  const { alice, say } = await two(cast);
  await cast.sandbox.trouble(alice.jid, 'freeze', { seconds: 1 });
  await hears(alice, await say('through the ice'), 'through the ice');
});

story('a client that lost its sessions asks again, and is answered by phone and by client', async (cast) => {
  cast.expected.push(...CUT, /No session record/);
  const { ana, alice, say } = await two(cast);
  const bob = await cast.phone('Bob');
  const bruno = await cast.companion(bob);
  await hears(alice, await bruno.send(ana.jid, 'from Bruno'), 'from Bruno');
  await hears(bruno, await alice.send(bob.jid, 'to Bruno'), 'to Bruno');
  await alice.stop();
  const folder = cast.folder('alice');
  for (const file of await readdir(folder)) if (file.startsWith('session-')) await rm(join(folder, file));
  await alice.start();
  await hears(alice, await say('can you read this, phone?'), 'can you read this, phone?');
  const id = await bruno.send(ana.jid, 'can you read this, client?');
  await hears(alice, id, 'can you read this, client?');
});

story('phones, companions and their queues survive a restart of the sandbox', async (cast) => {
  cast.expected.push(...CUT);
  const { carla, alice, say } = await two(cast);
  await alice.stop();
  const kept = await say('kept over the restart');
  assert.deepEqual(await cast.sandbox.restart(), { code: 0, signal: null });
  await alice.start();
  await hears(alice, kept, 'kept over the restart');
  const id = await alice.send(carla.jid, 'still the same phone?');
  assert.equal((await carla.message(id)).text, 'still the same phone?');
}, { kept: true });

story('an expired code, a foreign one and no code at all are told apart', async (cast) => {
  const fred = cast.stranger('Fred');
  const code = await fred.code();
  await fred.stop();
  const scan = (text) => cast.sandbox.post('/mock-phone/scan-qr', text);
  await assert.rejects(scan(code), /: 409 /);
  await assert.rejects(scan(code.replace(/2@\w{8}/, '2@00000000')), /: 404 /);
  await assert.rejects(scan('hello'), /: 400 /);
});
