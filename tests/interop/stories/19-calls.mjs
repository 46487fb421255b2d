// Calls: what an unmodified Baileys and the instance see of one, and that each can reject it.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';

/** Ana's phone with the instance and Baileys beside it, and Bob's phone, which calls. */
async function cast3(cast, more = []) {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const alice = await cast.companion(ana);
  const instance = await cast.instance(more);
  await instance.pair(ana);
  return { ana, bob, alice, instance };
}

const received = (instance, id) => instance.event('call.received', ({ call_id }) => call_id === id);
const ended = (instance, id) => instance.event('call.ended', ({ call_id }) => call_id === id);

story('the instance and Baileys see a call and that the caller hangs up', async (cast) => {
  const { ana, bob, alice, instance } = await cast3(cast);
  const id = await bob.call(ana.number, { video: true });
  const seen = await received(instance, id);
  assert.deepEqual([seen.caller_number, seen.is_video, seen.is_group, seen.caller_name], [bob.number, true, false, 'Bob']);
  const heard = await alice.callWith(id, 'offer');
  assert.deepEqual([heard.from, heard.isVideo, heard.isGroup], [bob.jid, true, false]);
  await bob.hangUp(id);
  assert.equal((await ended(instance, id)).outcome, 'missed');
  await alice.callWith(id, 'terminate');
  assert.equal(await bob.callState(id), 'ended');
});

story('Baileys rejects a call: the caller and the instance are told', async (cast) => {
  const { ana, bob, alice, instance } = await cast3(cast);
  const id = await bob.call(ana.number);
  const { from } = await alice.callWith(id, 'offer');
  await alice.sock.rejectCall(id, from);
  assert.equal((await ended(instance, id)).outcome, 'rejected_elsewhere');
  assert.equal(await bob.callState(id), 'rejected');
  assert.equal(await ana.callState(id), 'rejected_elsewhere');
});

story('the instance rejects a call by hidden identity: the caller and Baileys are told', async (cast) => {
  const { ana, bob, alice, instance } = await cast3(cast);
  const id = await bob.call(ana.lid);
  const seen = await received(instance, id);
  assert.deepEqual([seen.caller_number, seen.caller_lid], [bob.number, bob.lid]);
  assert.equal((await alice.callWith(id, 'offer')).callerPn, bob.jid);
  assert.equal((await instance.post(`/calls/${id}/reject`)).status, 200);
  assert.equal((await ended(instance, id)).outcome, 'rejected');
  await alice.callWith(id, 'terminate');
  assert.equal(await bob.callState(id), 'rejected');
  const { status, body } = await instance.post(`/calls/${id}/reject`);
  assert.deepEqual([status, body.error.code], [404, 'CALL_NOT_FOUND']);
});

story('the phone answers: the others are told that it did', async (cast) => {
  const { ana, bob, alice, instance } = await cast3(cast);
  const id = await bob.call(ana.number);
  await alice.callWith(id, 'offer');
  await ana.answer(id);
  assert.equal((await ended(instance, id)).outcome, 'accepted_elsewhere');
  await alice.callWith(id, 'terminate');
  assert.equal(await bob.callState(id), 'answered');
  await bob.hangUp(id);
  assert.equal(await ana.callState(id), 'ended');
});

story('calls are rejected as configured, and the caller reads why', async (cast) => {
  const { ana, bob, alice, instance } = await cast3(cast, ['--reject-calls', 'We only write.']);
  const bruno = await cast.companion(bob);
  const id = await bob.call(ana.number);
  assert.equal((await ended(instance, id)).outcome, 'rejected');
  await alice.callWith(id, 'terminate');
  const text = await bruno.messages.find('the text', (message) => message.text === 'We only write.');
  assert.equal(text.fromMe, false);
  assert.equal(await bob.callState(id), 'rejected');
});

story('a call that nobody answers is missed; one that came while the instance was away is told', async (cast) => {
  const { ana, bob, alice, instance } = await cast3(cast);
  await instance.stop();
  const id = await bob.call(ana.number);
  // Phones ring for 45 s.
  await alice.callWith(id, 'timeout', 60_000);
  await instance.start();
  assert.equal((await received(instance, id)).caller_number, bob.number);
  assert.equal((await ended(instance, id)).outcome, 'missed');
  assert.equal(await bob.callState(id), 'missed');
});
