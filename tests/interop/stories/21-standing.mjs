// Who may be reached: tokens, time locks, devices that come and go, and messages taken back by who manages a group, among
// an instance and unmodified Baileys.

import assert from 'node:assert/strict';

import { newest } from '../lib/instance.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

/** The last message stanza with this id that came from a client. */
async function stanzaOf(sandbox, id) {
  const { log } = await sandbox.get('/log');
  return log.findLast(({ direction, stanza }) => direction === 'in' && stanza.startsWith('<message') && stanza.includes(id)).stanza;
}

const standing = (sandbox, phone, change) => sandbox.post(`/phones/${phone.number}/standing`, change);

story('whoever shuns strangers is reached with a token that it issued, from either side', async (cast) => {
  // What was refused had opened a session, which the first word of the other side replaces.
  cast.expected.push(/error 463/, /Closing open session in favor of incoming prekey bundle/);
  const [ines, bob, rita] = [await cast.phone('Ines'), await cast.phone('Bob'), await cast.phone('restricted:Rita')];
  const [instance, bruno, rosa] = [await cast.instance(), await cast.companion(bob), await cast.companion(rita, 'Rosa')];
  await instance.pair(ines);

  // Nobody is let in, with whatever client.
  const { status, body } = await instance.post('/send-message', { recipient: rita.number, message: 'hello?' });
  assert.deepEqual([status, body.error.code, body.error.details.whatsapp_code], [500, 'SEND_FAILED', 463]);
  const refused = await bruno.send(rita.jid, 'hello?');
  await bruno.updates.find('the refusal', ({ id, status: s }) => id === refused && s === 0);

  // She writes, from Baileys: her token comes with it, and is shown by whoever answers.
  for (const [to, text] of [[ines, 'to the instance'], [bob, 'to Baileys']]) await rosa.send(to.jid, text);
  await instance.event('message.received', ({ content }) => content === 'to the instance');
  await bruno.messages.find('what she wrote', ({ text }) => text === 'to Baileys');
  const answers = [
    [await instance.send(rita.number, 'from the instance'), 'from the instance'],
    [await bruno.send(rita.jid, 'from Baileys'), 'from Baileys'],
  ];
  for (const [id, text] of answers) {
    assert.equal((await rosa.messageWith(id)).text, text);
    assert.equal((await rita.message(id)).text, text);
  }
  assert.match(await stanzaOf(cast.sandbox, answers[0][0]), /<tctoken>/);
  const account = await instance.get('/account');
  assert.deepEqual(account.body.standing, { restricted: false, reason: null, until: null });
});

story('the token of an instance that shuns strangers lets Baileys in', async (cast) => {
  // What was refused had opened a session, which the first word of the other side replaces.
  cast.expected.push(/error 463/, /Closing open session in favor of incoming prekey bundle/);
  const [ines, bob] = [await cast.phone('restricted:Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  const refused = await bruno.send(ines.jid, 'let me in');
  await bruno.updates.find('the refusal', ({ id, status }) => id === refused && status === 0);
  const first = await instance.send(bob.number, 'who is it?');
  assert.equal((await bruno.messageWith(first)).text, 'who is it?');
  const id = await bruno.send(ines.jid, 'it is me');
  assert.equal(textOf(await instance.platform.messageWith(id)), 'it is me');
  assert.match(await stanzaOf(cast.sandbox, id), /<tctoken>/);
});

story('under a time lock new chats wait and known ones go on', async (cast) => {
  const [ines, bob, dora] = [await cast.phone('Ines'), await cast.phone('Bob'), await cast.phone('Dora')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  await instance.platform.messageWith(await bruno.send(ines.jid, 'hi'));
  await standing(cast.sandbox, ines, { timelock: { seconds: 3600, type: 'RESTRICT_ALL_COMPANIONS' } });
  const told = await instance.event('account.restricted', ({ restricted }) => restricted);
  assert.deepEqual([told.reason, told.type], ['reachout_timelock', 'RESTRICT_ALL_COMPANIONS']);

  const { status, body } = await instance.post('/send-message', { recipient: dora.number, message: 'a stranger' });
  assert.deepEqual([status, body.message], [202, 'Message queued']);
  const known = await instance.send(bob.number, 'a friend');
  assert.equal((await bruno.messageWith(known)).text, 'a friend');
  const shown = (await instance.get('/account')).body.standing;
  assert.deepEqual([shown.restricted, shown.reason, new Date(shown.until) > new Date()], [true, 'reachout_timelock', true]);
  const health = (await instance.get('/health/details')).body;
  assert.deepEqual([health.verdict, health.problems[0].code, health.queues.held.rows], ['degraded', 'account_restricted', 1]);

  await standing(cast.sandbox, ines, { timelock: null });
  assert.equal((await dora.message(body.message_id)).text, 'a stranger');
  await instance.event('account.restricted', ({ restricted }) => !restricted);
  assert.equal((await instance.get('/health/details')).body.verdict, 'ok');
});

story('devices come and go, and both sides write to those that there are', async (cast) => {
  // Boris leaves while he may still be told something, and Baileys complains that it cannot acknowledge it any more.
  cast.expected.push(/"message":"Connection Closed"/);
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  const say = async (text, ...readers) => {
    const id = await instance.send(bob.number, text);
    for (const reader of readers) assert.equal((await reader.messageWith(id)).text, text);
    assert.equal((await bob.message(id)).text, text);
  };
  await say('one', bruno);
  const boris = await cast.companion(bob, 'Boris');
  await say('two', bruno, boris);
  // The instance's own new sibling reads what it sends, and what it is sent.
  const ida = await cast.companion(ines, 'Ida');
  await say('three', bruno, boris, ida);
  const answer = await boris.send(ines.jid, 'from the new one');
  assert.equal(textOf(await instance.platform.messageWith(answer)), 'from the new one');
  assert.equal((await ida.messageWith(answer)).text, 'from the new one');
  const sibling = await ida.send(bob.jid, 'from the sibling');
  assert.equal(textOf(await instance.platform.messageWith(sibling)), 'from the sibling');
  assert.equal((await boris.messageWith(sibling)).text, 'from the sibling');
  // Unlinked, one reads no more, and the others go on.
  await boris.stop();
  await bob.unlink((await newest(bob)).device);
  await say('four', bruno, ida);
});

story('who manages a group takes back what others wrote', async (cast) => {
  const [ines, bob, carla] = [await cast.phone('Ines'), await cast.phone('Bob'), await cast.phone('Carla')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  const participants = [bob.number, carla.number];
  const group = await cast.sandbox.post('/groups', { owner: ines.number, subject: 'Team', participants });
  await instance.event('group.updated', ({ action, group_jid }) => action === 'created' && group_jid === group.jid);

  const theirs = await bruno.send(group.jid, 'too much');
  await instance.platform.messageWith(theirs);
  const path = `/messages/${theirs}?to=${encodeURIComponent(group.jid)}`;
  assert.equal((await instance.call('DELETE', path)).status, 200);
  await bruno.changes.find('its end', ({ id, update }) => id === theirs && update.message === null);

  const ours = await instance.send(group.jid, 'so what');
  const seen = await bruno.messageWith(ours);
  await cast.sandbox.post(`/groups/${group.jid}/participants`, { promote: [bob.number] });
  await instance.event('group.updated', ({ action }) => action === 'participants_promoted');
  await bruno.send(group.jid, { delete: { ...seen.key, fromMe: false } });
  const deleted = await instance.event('message.deleted', ({ whatsapp_message_id }) => whatsapp_message_id === ours);
  assert.deepEqual([deleted.sender_number, deleted.from_me], [bob.number, false]);
});
