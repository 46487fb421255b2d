// What the sandbox itself is to an unmodified Baileys: phones, numbers, presence, the end of a link.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';
import { textOf } from '../lib/baileys.mjs';

async function two(cast) {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  return { ana, bob, alice: await cast.companion(ana), bruno: await cast.companion(bob) };
}

story('a phone talks to a client, quotes it, and reads what it is sent', async (cast) => {
  const [ana, carla] = [await cast.phone('Ana'), await cast.phone('Carla')];
  const alice = await cast.companion(ana);
  const hello = await alice.messageWith(await carla.send(ana.number, 'oi'));
  assert.deepEqual([hello.text, hello.key.remoteJid, hello.pushName], ['oi', carla.jid, 'Carla']);

  const sent = await alice.send(carla.jid, 'oi, Carla');
  const message = await carla.message(sent);
  assert.deepEqual([message.text, message.sender, message.chat], ['oi, Carla', ana.jid, ana.jid]);
  assert.equal(message.sender_device, Number(alice.jid.match(/:(\d+)@/)[1]));
  await alice.status(sent, 3);
  await carla.read(sent);
  await alice.status(sent, 4);

  const quoting = await alice.messageWith(await carla.send(ana.number, 'as you said', { quote: sent }));
  const { contextInfo } = quoting.message.extendedTextMessage;
  assert.deepEqual([contextInfo.stanzaId, textOf(contextInfo.quotedMessage)], [sent, 'oi, Carla']);
});

story('the echo contact echoes', async (cast) => {
  const [bob, echo] = [await cast.phone('Bob'), await cast.phone('Echo')];
  const bruno = await cast.companion(bob);
  await bruno.send(echo.jid, 'is there anybody?');
  const answer = await bruno.messages.find('the echo', ({ fromMe, text }) => !fromMe && text === 'is there anybody?');
  assert.equal(answer.key.remoteJid, echo.jid);
});

story('numbers are found, and others are not', async (cast) => {
  const { bob, alice } = await two(cast);
  const [found] = await alice.sock.onWhatsApp(`+${bob.number}`);
  assert.deepEqual([found.exists, found.jid], [true, bob.jid]);
  const nobody = (await alice.sock.onWhatsApp('+5511900000000')) ?? [];
  assert.equal(nobody.some(({ exists }) => exists), false);
});

story('typing and being online are seen by the other side', async (cast) => {
  const { ana, bob, alice, bruno } = await two(cast);
  await alice.sock.presenceSubscribe(bob.jid);
  await alice.presences.find('being online', ({ state }) => state === 'available');
  await bruno.sock.sendPresenceUpdate('composing', ana.jid);
  await alice.presences.find('typing', ({ state }) => state === 'composing');
});

story('what is sent to a client that is away waits for it, in order', async (cast) => {
  const { bob, alice, bruno } = await two(cast);
  await bruno.stop();
  const ids = [];
  for (let n = 0; n < 12; n += 1) ids.push(await alice.send(bob.jid, `waiting ${n}`));
  await bruno.start();
  for (const [n, id] of ids.entries()) assert.equal((await bruno.messageWith(id)).text, `waiting ${n}`);
  assert.deepEqual(bruno.arrived.all((id) => ids.includes(id)), ids);
});

story('two clients of one push name become companions of one number', async (cast) => {
  const clients = [];
  for (const name of ['first', 'second']) {
    const client = cast.stranger('Gina', name);
    await client.pair({ scan: (qr) => cast.sandbox.post('/mock-phone/scan-qr', qr) });
    clients.push(client);
  }
  const [first, second] = clients.map(({ jid }) => jid.match(/^(\d+):(\d+)@/));
  assert.equal(first[1], second[1]);
  assert.notEqual(first[2], second[2]);
});

story('a client that was unlinked is refused when it comes again', async (cast) => {
  cast.expected.push(/device_removed.*stream errored out/, /"reason":"401"|logged out|Connection Failure/);
  const dora = await cast.phone('Dora');
  const guest = await cast.companion(dora);
  const [{ device }] = await dora.companions();
  await dora.unlink(device);
  await guest.closed(401);
  const closes = () => guest.connection.all(({ connection, code }) => connection === 'close' && code === 401).length;
  assert.equal(closes(), 1);
  guest.start().catch(() => {});
  await guest.connection.until('another refusal', () => closes() === 2);
});

story('a client that logs itself out is forgotten', async (cast) => {
  // It closes by itself after its request; whether it still reads the server's goodbye is a race.
  cast.expected.push(/device_removed.*stream errored out/);
  const eva = await cast.phone('Eva');
  const guest = await cast.companion(eva);
  assert.equal((await eva.companions()).length, 1);
  await guest.sock.logout();
  await guest.closed(401);
  assert.deepEqual(await eva.companions(), []);
});
