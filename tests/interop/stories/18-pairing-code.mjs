// Linking by a code typed on the phone: an unmodified Baileys, and the instance.

import assert from 'node:assert/strict';

import { newest } from '../lib/instance.mjs';
import { story } from '../lib/story.mjs';

const SHOWN = /^[1-9A-HJ-NP-TV-Z]{4}-[1-9A-HJ-NP-TV-Z]{4}$/;

const linked = (instance) => instance.link('connected', ({ status }) => status === 'connected');

story('Baileys asks for a code, the phone types it, and messages go both ways', async (cast) => {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const alice = cast.stranger('Ana');
  const code = await alice.linkCode(ana.number);
  assert.equal(code.length, 8);
  await ana.typeCode(code);
  await alice.paired();
  assert.equal((await ana.companions()).length, 1);
  const id = await alice.send(bob.jid, 'linked by code');
  assert.equal((await bob.message(id)).text, 'linked by code');
  assert.equal((await alice.messageWith(await bob.send(ana.number, 'welcome'))).text, 'welcome');
});

story('Baileys is refused after a wrong code, and linked after the right one', async (cast) => {
  const ana = await cast.phone('Ana');
  const alice = cast.stranger('Ana');
  const code = await alice.linkCode(ana.number);
  await assert.rejects(ana.typeCode('1111-1111'), /409.*another code/);
  assert.deepEqual(await ana.companions(), []);
  await ana.typeCode(code);
  await alice.paired();
  assert.equal((await ana.companions()).length, 1);
});

story('the instance asks for a code, which the API, the QR code and the webhook tell', async (cast) => {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const bruno = await cast.companion(bob);
  const instance = await cast.instance();
  const code = await instance.linkCode(ana);
  assert.match(code, SHOWN);
  assert.equal((await instance.get('/qr')).body.pairing_code, code);
  assert.equal((await instance.event('instance.qr', ({ pairing_code }) => pairing_code)).pairing_code, code);
  await ana.typeCode(code);
  await linked(instance);
  assert.equal((await newest(ana)).online, true);
  const id = await instance.send(bob.number, 'linked by code');
  assert.equal((await bruno.messageWith(id)).text, 'linked by code');
  const answer = await bruno.send(ana.jid, 'welcome');
  await instance.event('message.received', ({ whatsapp_message_id }) => whatsapp_message_id === answer);
});

story('the instance is refused after a wrong code; another code replaces the first; then it is linked', async (cast) => {
  const ana = await cast.phone('Ana');
  const instance = await cast.instance();
  const first = await instance.linkCode(ana);
  await assert.rejects(ana.typeCode('ZZZZ-ZZZZ'), /409.*another code/);
  const second = await instance.linkCode(ana);
  assert.notEqual(first, second);
  await assert.rejects(ana.typeCode(first), /409.*another code/);
  await ana.typeCode(second.toLowerCase());
  await linked(instance);
  assert.equal((await ana.companions()).length, 1);
});

story('an instance set up for a number asks for a code by itself, and the QR code works as well', async (cast) => {
  const ana = await cast.phone('Ana');
  const instance = await cast.instance(['--pair-phone', ana.number]);
  const code = await instance.program.line('pairing code ');
  assert.match(code, SHOWN);
  await ana.typeCode(code);
  await linked(instance);
  // Unlinked, it asks again; this time somebody scans.
  await ana.unlink((await newest(ana)).device);
  await instance.link('a code', ({ pairing_code }) => pairing_code && pairing_code !== code);
  await ana.scan(await instance.qr());
  await linked(instance);
});

story('a number without an account leaves the QR code', async (cast) => {
  const ana = await cast.phone('Ana');
  const instance = await cast.instance();
  await instance.qr();
  const { status, body } = await instance.post('/connect', { phone: '5500000000000' });
  assert.deepEqual([status, body.error.code, body.error.details], [422, 'PAIRING_CODE_REFUSED', { whatsapp_code: 400 }]);
  await ana.scan(await instance.qr());
  await linked(instance);
});
