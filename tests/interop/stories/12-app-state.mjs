// App state between an instance, an unmodified Baileys that is linked to the same number, and their phone.

import assert from 'node:assert/strict';

import { PATIENCE } from '../lib/journal.mjs';
import { story } from '../lib/story.mjs';

const HOUR = 3_600_000;

/** A call that must be accepted. */
async function done(instance, method, path, body) {
  const { status, body: answer } = await instance.call(method, path, body);
  assert.equal(status, 200, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

story('what Baileys changes is known to the instance, told by it, and verified by the phone', async (cast) => {
  const { ines, bob, instance, irene, hello } = await cast.three();
  const until = Date.now() + HOUR;
  await irene.modify(bob.jid, { archive: true }, hello);
  assert.equal((await instance.event('chat.updated', ({ archived }) => archived)).jid, bob.jid);
  await irene.modify(bob.jid, { archive: false }, hello);
  await irene.modify(bob.jid, { pin: true });
  await irene.modify(bob.jid, { mute: until });
  await irene.modify(bob.jid, { markRead: false }, hello);
  const seen = await instance.chat(bob.jid, (body) => body.pinned && body.muted_until && body.unread && !body.archived);
  assert.equal(Date.parse(seen.muted_until), until);
  await irene.modify(bob.jid, { markRead: true }, hello);
  await instance.chat(bob.jid, (body) => !body.unread && body.unread_count === 0);

  await irene.sock.star(bob.jid, [{ id: hello.id, fromMe: false }], true);
  await instance.event('message.starred', (data) => data.whatsapp_message_id === hello.id && data.starred);
  await irene.sock.addOrEditContact(bob.jid, { fullName: 'Bob Lima', firstName: 'Bob' });
  await instance.event('contact.updated', ({ name, phone }) => name === 'Bob Lima' && phone === bob.number);
  assert.equal((await instance.get(`/contacts/${bob.number}`)).body.name, 'Bob Lima');
  await irene.modify(bob.jid, { deleteForMe: { key: hello.key, timestamp: hello.t, deleteMedia: false } });
  await instance.event('message.deleted', (data) => data.whatsapp_message_id === hello.id && data.for === 'me');

  await ines.record(['pin_v1', bob.jid], (value) => value?.pinAction.pinned);
  await ines.record(['contact', bob.jid], (value) => value?.contactAction.fullName === 'Bob Lima');
  // The last, as Baileys miscounts what comes after a removal of its own.
  await irene.sock.removeContact(bob.jid);
  await instance.event('contact.updated', ({ name, phone }) => name === null && phone === bob.number);
  await ines.record(['contact', bob.jid], (value) => value === undefined);
});

story('what the instance changes is seen by Baileys and by the phone', async (cast) => {
  const { ines, bob, instance, irene, hello } = await cast.three();
  const until = new Date(Date.now() + HOUR);
  await done(instance, 'PATCH', `/chats/${bob.jid}`, { pinned: true, muted_until: until.toISOString(), unread: true });
  await irene.state('chats.update', ({ id, pinned }) => id === bob.jid && pinned);
  await irene.state('chats.update', ({ id, muteEndTime }) => id === bob.jid && Number(muteEndTime) === until.getTime());
  await irene.state('chats.update', ({ id, unreadCount }) => id === bob.jid && unreadCount === -1);
  await done(instance, 'PATCH', `/chats/${bob.jid}`, { archived: true, muted_until: null, unread: false });
  await irene.state('chats.update', ({ id, archived }) => id === bob.jid && archived);
  await irene.state('chats.update', ({ id, muteEndTime }) => id === bob.jid && muteEndTime === null);
  await ines.record(['pin_v1', bob.jid], (value) => value?.pinAction.pinned === false);

  await done(instance, 'POST', `/messages/${hello.id}/star`, { to: bob.number, value: true });
  await irene.state('star', ({ id, starred }) => id === hello.id && starred);
  await done(instance, 'PUT', `/contacts/${bob.number}`, { name: 'Bob Lima', first_name: 'Bob' });
  await irene.state('contacts.upsert', ({ id, name }) => id === bob.jid && name === 'Bob Lima');
  await done(instance, 'DELETE', `/messages/${hello.id}?to=${bob.number}&for=me`);
  await irene.state('messages.delete', ({ id }) => id === hello.id);
  await ines.record(['deleteMessageForMe', bob.jid, hello.id, '0', '0'], (value) => value !== undefined);
  await done(instance, 'DELETE', `/chats/${bob.jid}`);
  await irene.state('chats.delete', ({ id }) => id === bob.jid);
  assert.equal((await instance.get(`/chats/${bob.jid}`)).body.error.code, 'CHAT_NOT_FOUND');
  await done(instance, 'DELETE', `/contacts/${bob.number}`);
  await ines.record(['contact', bob.jid], (value) => value === undefined);
});

story('what the phone changes is seen by both', async (cast) => {
  const { ines, bob, instance, irene, hello } = await cast.three();
  await ines.change({ archive: { chat: bob.number, value: true } });
  await ines.change({ mute: { chat: bob.number, until: -1 } });
  await ines.change({ star: { chat: bob.number, id: hello.id, value: true } });
  await ines.contact(bob.number, 'Bob from the phone');
  const seen = await instance.chat(bob.jid, ({ archived, name }) => archived && name === 'Bob from the phone');
  assert.equal(seen.muted_until, 'forever');
  await irene.state('chats.update', ({ id, archived }) => id === bob.jid && archived);
  await irene.state('star', ({ id }) => id === hello.id);
  await irene.state('contacts.upsert', ({ name }) => name === 'Bob from the phone');
  await ines.change({ name: 'Ines e Filhas' });
  await instance.link('the name', () => true);
  const end = Date.now() + PATIENCE;
  while ((await instance.status()).name !== 'Ines e Filhas') assert.ok(Date.now() < end, 'the name did not come');
});

for (const how of ['stop', 'kill']) {
  story(`whoever was away catches up (${how})`, async (cast) => {
    const { ines, bob, instance, irene, hello } = await cast.three();
    await irene.stop();
    await done(instance, 'PATCH', `/chats/${bob.jid}`, { pinned: true });
    await done(instance, 'POST', `/messages/${hello.id}/star`, { to: bob.number, value: true });
    await irene.start();
    await irene.state('chats.update', ({ id, pinned }) => id === bob.jid && pinned);
    await irene.state('star', ({ id, starred }) => id === hello.id && starred);

    await instance[how]();
    await irene.modify(bob.jid, { pin: false });
    await irene.modify(bob.jid, { archive: true }, hello);
    await irene.sock.addOrEditContact(bob.jid, { fullName: 'Bob meanwhile' });
    await instance.start();
    await instance.chat(bob.jid, (body) => body.archived && !body.pinned && body.name === 'Bob meanwhile');
    await done(instance, 'PATCH', `/chats/${bob.jid}`, { archived: false });
    await irene.state('chats.update', ({ id, archived }) => id === bob.jid && archived === false);
    await ines.record(['archive', bob.jid], (value) => value?.archiveChatAction.archived === false);
  });
}

story('a change that comes too late is put on top of what was faster', async (cast) => {
  const { ines, bob, instance, irene, hello } = await cast.three();
  for (const round of [1, 2, 3]) {
    const on = round % 2 === 1;
    // The server hears of the instance's change only after it has taken that of Baileys.
    await cast.sandbox.trouble(instance.jid, 'freeze', { seconds: 1 });
    const [answer] = await Promise.all([
      done(instance, 'PATCH', `/chats/${bob.jid}`, { pinned: on }),
      irene.modify(bob.jid, { archive: !on }, hello),
    ]);
    assert.equal(answer.message, 'Chat updated successfully');
    await instance.chat(bob.jid, ({ pinned, archived }) => pinned === on && archived === !on);
    await ines.record(['pin_v1', bob.jid], (value) => value?.pinAction.pinned === on);
    await ines.record(['archive', bob.jid], (value) => value?.archiveChatAction.archived === !on);
    await irene.state('chats.update', ({ id, pinned }) => id === bob.jid && Boolean(pinned) === on);
  }
  const { log } = await cast.sandbox.get('/log');
  assert.ok(log.some(({ stanza }) => stanza.includes('text="conflict"')), 'nobody was too late');
});

/**
 * Baileys remembers the MAC of what it removed as if it were in force, so that its sum, and the MAC over it, are wrong from
 * the next change of that record on. What it says is authentic all the same.
 */
story('a Baileys that miscounts is believed, and hears the others', async (cast) => {
  const { ines, bob, instance, irene } = await cast.three();
  await irene.sock.addOrEditContact(bob.jid, { fullName: 'Bob, once' });
  await irene.sock.removeContact(bob.jid);
  await irene.sock.addOrEditContact(bob.jid, { fullName: 'Bob, again' });
  await instance.event('contact.updated', ({ name }) => name === 'Bob, again');
  await ines.record(['contact', bob.jid], (value) => value?.contactAction.fullName === 'Bob, again');
  assert.equal((await cast.sandbox.get(`${ines.path}/app-state`)).diverged, 1);
  await done(instance, 'PUT', `/contacts/${bob.number}`, { name: 'Bob, by the instance' });
  await irene.state('contacts.upsert', ({ name }) => name === 'Bob, by the instance');
  await irene.sock.addOrEditContact(bob.jid, { fullName: 'Bob, for good' });
  await instance.event('contact.updated', ({ name }) => name === 'Bob, for good');
  await ines.record(['contact', bob.jid], (value) => value?.contactAction.fullName === 'Bob, for good');
});

story('what is read on one device is not unread on the other', async (cast) => {
  const { bob, instance, irene, hello } = await cast.three();
  assert.equal((await instance.chat(bob.jid, () => true)).unread_count, 1);
  await irene.read(hello);
  await instance.chat(bob.jid, ({ unread_count: count }) => count === 0);
});

story('an instance that is linked to a full account starts from snapshots', async (cast) => {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  for (let n = 0; n < 150; n += 1) await ines.contact(`55119${String(n).padStart(8, '0')}`, `Contact ${n}`);
  await ines.contact(bob.number, 'Bob in the snapshot');
  await ines.change({ pin: { chat: bob.number, value: true } });
  await ines.snapshot();
  await ines.contact('5511900000007', 'Seven');
  const instance = await cast.instance();
  await instance.pair(ines);
  await instance.chat(bob.jid, ({ pinned, name }) => pinned && name === 'Bob in the snapshot');
  const { body } = await instance.get('/contacts?per_page=100&page=2');
  assert.deepEqual([body.total, body.contacts.length], [151, 51]);
  const end = Date.now() + PATIENCE;
  while ((await instance.get('/contacts/5511900000007')).body.name !== 'Seven') assert.ok(Date.now() < end);
  await done(instance, 'PUT', '/contacts/5511900000007', { name: 'Eight' });
  await ines.record(['contact', '5511900000007@s.whatsapp.net'], (value) => value?.contactAction.fullName === 'Eight');
  assert.equal((await cast.sandbox.get(`${ines.path}/app-state`)).diverged, 0);
});
