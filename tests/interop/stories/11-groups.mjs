// Groups and statuses among an instance, two unmodified Baileys and a phone: everybody reads everybody.

import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { png } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

/** What the local web server has may be fetched only so. */
const PRIVATE = ['--media-allow-private'];

/** An instance (Ines), two Baileys (Bob, Carla), a phone alone (Dora), and a group of all that Ines made. */
async function four(cast, addressing_mode = 'lid') {
  const phones = [];
  for (const name of ['Ines', 'Bob', 'Carla', 'Dora']) phones.push(await cast.phone(name));
  const [ines, bob, carla, dora] = phones;
  const instance = await cast.instance(PRIVATE);
  const [bruno, clara] = [await cast.companion(bob), await cast.companion(carla)];
  await instance.pair(ines);
  const participants = [bob, carla, dora].map(({ number }) => number);
  const group = await cast.sandbox.post('/groups', { owner: ines.number, subject: 'Team', participants, addressing_mode });
  await instance.event('group.updated', ({ action, group_jid }) => action === 'created' && group_jid === group.jid);
  return { ines, bob, carla, dora, instance, bruno, clara, platform: instance.platform, group };
}

/** Each of these can read what is in the message with this id: `{instance, bruno, …}` → their ways to get it. */
async function readByAll({ platform, bruno, clara, dora }, id, text, ...without) {
  const ways = {
    platform: async () => textOf(await platform.messageWith(id)),
    bruno: async () => (await bruno.messageWith(id)).text,
    clara: async () => (await clara.messageWith(id)).text,
    dora: async () => (await dora.message(id)).text,
  };
  for (const [who, way] of Object.entries(ways)) if (!without.includes(who)) assert.equal(await way(), text, who);
}

const members = (sandbox, group, change) => sandbox.post(`/groups/${group.jid}/participants`, change);

for (const mode of ['lid', 'pn']) {
  story(`everybody in a group addressed by ${mode} reads everybody, again and again`, async (cast) => {
    const all = await four(cast, mode);
    const { instance, bruno, clara, dora, group, platform, bob } = all;
    for (const round of [1, 2, 3]) {
      await readByAll(all, await instance.send(group.jid, `instance ${round}`), `instance ${round}`);
      await readByAll(all, await bruno.send(group.jid, `bruno ${round}`), `bruno ${round}`, 'bruno');
      await readByAll(all, await clara.send(group.jid, `clara ${round}`), `clara ${round}`, 'clara');
      await readByAll(all, await dora.send(group.jid, `dora ${round}`), `dora ${round}`, 'dora');
    }
    const posts = platform.incoming();
    assert.equal(posts.length, 12, 'each message once');
    assert.ok(posts.every(({ isGroup, remoteJid }) => isGroup && remoteJid === group.jid));
    const fromBob = posts.find((post) => textOf(post) === 'bruno 1');
    assert.equal(fromBob.participant, bob.jid);
    assert.equal(fromBob.key.participant, bob.jid);
    assert.equal(fromBob.key.participantAlt, bob.lid);
  });
}

story('a file, a reply and a reaction in a group are seen by everybody', async (cast) => {
  const all = await four(cast);
  const { instance, bruno, clara, dora, group, platform, carla } = all;
  const asked = await clara.send(group.jid, 'who comes?');
  await readByAll(all, asked, 'who comes?', 'clara');

  const image = png({ side: 40 });
  const shelf = await cast.shelf({ '/image': { type: 'image/png', bytes: image } });
  const media = { recipient: group.jid, media_url: `${shelf.url}/image`, media_type: 'image', caption: 'here' };
  const picture = await instance.sends('/send-media', media);
  for (const companion of [bruno, clara]) {
    const received = await companion.contentWith(picture);
    assert.equal(received.message.imageMessage.caption, 'here');
    assert.deepEqual(await companion.download(received), image);
  }
  assert.equal((await dora.message(picture)).media.mimetype, 'image/png');

  const back = await bruno.send(group.jid, { image, caption: 'mine' });
  await platform.messageWith(back);
  assert.deepEqual((await instance.file(back)).bytes, image);

  const reply = await instance.send(group.jid, 'I do', { reply_to: asked });
  const { contextInfo } = (await bruno.messageWith(reply)).message.extendedTextMessage;
  assert.deepEqual([contextInfo.stanzaId, contextInfo.participant], [asked, carla.lid]);
  assert.equal(contextInfo.quotedMessage.conversation ?? contextInfo.quotedMessage.extendedTextMessage.text, 'who comes?');

  await instance.sends('/send-reaction', { to: group.jid, messageId: asked, emoji: '👍' });
  for (const companion of [bruno, clara]) {
    const { key, text } = await companion.reactions.find('the reaction', ({ id }) => id === asked);
    assert.equal(text, '👍');
    assert.equal(key.remoteJid, group.jid);
  }
  await bruno.sock.sendMessage(group.jid, { react: { text: '😂', key: (await bruno.messageWith(reply)).key } });
  const reaction = await instance.event('message.reaction', ({ whatsapp_message_id: id }) => id === reply);
  assert.deepEqual([reaction.emoji, reaction.sender_number], ['😂', all.bob.number]);

  const typo = await instance.send(group.jid, 'tpyo');
  await clara.messageWith(typo);
  await instance.sends(`/messages/${typo}`, { to: group.jid, message: 'typo' }, 'PATCH');
  await clara.changes.find('the edit', ({ id, update }) => id === typo && update.message?.editedMessage);
  await instance.sends(`/messages/${typo}?to=${encodeURIComponent(group.jid)}`, undefined, 'DELETE');
  await clara.changes.find('the deletion', ({ id, update }) => id === typo && update.message === null);
});

story('who is added reads from then on, who is removed reads nothing more', async (cast) => {
  const all = await four(cast);
  const { instance, bruno, clara, dora, group, carla, platform } = all;
  await readByAll(all, await instance.send(group.jid, 'all of us'), 'all of us');
  await readByAll(all, await bruno.send(group.jid, 'all of us, too'), 'all of us, too', 'bruno');

  await members(cast.sandbox, group, { remove: [carla.number] });
  await instance.event('group.updated', ({ action }) => action === 'participants_removed');
  const without = await instance.send(group.jid, 'without Carla');
  await readByAll(all, without, 'without Carla', 'clara');
  const more = await bruno.send(group.jid, 'still without');
  await readByAll(all, more, 'still without', 'bruno', 'clara');
  const last = await dora.send(group.jid, 'without, by phone');
  await readByAll(all, last, 'without, by phone', 'dora', 'clara');

  await members(cast.sandbox, group, { add: [carla.number] });
  await instance.event('group.updated', ({ action }) => action === 'participants_added');
  await readByAll(all, await instance.send(group.jid, 'Carla is back'), 'Carla is back');
  await readByAll(all, await clara.send(group.jid, 'I am back'), 'I am back', 'clara');
  const seen = clara.decrypted.items.map(({ text }) => text);
  for (const text of ['without Carla', 'still without', 'without, by phone']) assert.ok(!seen.includes(text), text);
  assert.ok(!clara.arrived.items.includes(without), 'not even the stanza');
  assert.equal(platform.incoming('without Carla').length, 1);
});

story('a Baileys whose sessions are gone gets the message after it has asked again', async (cast) => {
  const all = await four(cast);
  const { instance, bruno, group } = all;
  await readByAll(all, await instance.send(group.jid, 'before'), 'before');
  await readByAll(all, await bruno.send(group.jid, 'before, too'), 'before, too', 'bruno');
  await bruno.stop();
  const folder = cast.folder('Bob-0');
  for (const file of await readdir(folder)) {
    if (/^(session|sender-key)-/.test(file)) await rm(join(folder, file));
  }
  await bruno.start();
  // It also looks the group up as if that were somebody's number.
  cast.expected.push(/No session|SenderKey|sender key|failed to decrypt|retry|transaction failed|USync fetch yielded|Closing open session/i);
  const id = await instance.send(group.jid, 'after');
  assert.equal((await bruno.messageWith(id)).text, 'after');
  await readByAll(all, await instance.send(group.jid, 'and on'), 'and on');
  await readByAll(all, await bruno.send(group.jid, 'on again'), 'on again', 'bruno');
  assert.equal(bruno.decrypted.all(({ text }) => text === 'after').length, 1, 'once');
});

story('what was written to a group while the instance was away is read in order when it is back', async (cast) => {
  const all = await four(cast);
  const { instance, bruno, clara, group, platform } = all;
  // Both may begin at once: Baileys says so.
  cast.expected.push(/Closing open session in favor of incoming prekey bundle/);
  // Each has a session with each before anybody is away.
  await readByAll(all, await bruno.send(group.jid, 'before'), 'before', 'bruno');
  await readByAll(all, await clara.send(group.jid, 'before, too'), 'before, too', 'clara');
  await instance.kill();
  const missed = [];
  for (const round of [1, 2, 3]) {
    missed.push(await bruno.send(group.jid, `bruno ${round}`), await clara.send(group.jid, `clara ${round}`));
  }
  await instance.start();
  for (const id of missed) await platform.messageWith(id);
  const texts = platform.incoming().map((post) => textOf(post));
  assert.deepEqual(texts.filter((text) => text.startsWith('bruno')), [1, 2, 3].map((round) => `bruno ${round}`));
  assert.equal((await clara.messageWith(await instance.send(group.jid, 'back'))).text, 'back');
});

story('an instance makes a group, changes who is in it and what it is called, and leaves it', async (cast) => {
  const [ines, bob, carla] = [await cast.phone('Ines'), await cast.phone('Bob'), await cast.phone('Carla')];
  const instance = await cast.instance();
  const [bruno, clara] = [await cast.companion(bob), await cast.companion(carla)];
  await instance.pair(ines);
  const made = await instance.post('/groups', { subject: 'Club', participants: [bob.number, '5511900000000'] });
  assert.equal(made.status, 201);
  assert.deepEqual(made.body.participants.map(({ status }) => status), ['200', '404']);
  const { jid } = made.body.group;
  const path = `/groups/${jid}`;
  assert.equal((await bruno.messageWith(await instance.send(jid, 'welcome'))).text, 'welcome');
  assert.equal((await bruno.sock.groupMetadata(jid)).subject, 'Club');

  const added = await instance.post(`${path}/participants`, { participants: [carla.number, bob.number] });
  assert.deepEqual(added.body.participants.map(({ status }) => status), ['200', '409']);
  assert.equal((await clara.messageWith(await instance.send(jid, 'hello, Carla'))).text, 'hello, Carla');
  await instance.post(`${path}/admins`, { participants: [carla.number] });
  const changed = await instance.call('PATCH', path, { subject: 'Society', description: 'for all', announce: true });
  assert.deepEqual([changed.status, changed.body.subject, changed.body.announce], [200, 'Society', true]);
  const seen = await clara.sock.groupMetadata(jid);
  assert.deepEqual([seen.subject, seen.desc, seen.announce], ['Society', 'for all', true]);
  assert.equal(seen.participants.find(({ id }) => id === carla.lid).admin, 'admin');
  // Baileys changes it, and the instance hears.
  await clara.sock.groupUpdateSubject(jid, 'Guild');
  await instance.event('group.updated', ({ action, subject }) => action === 'subject' && subject === 'Guild');
  assert.equal((await instance.get(path)).body.subject, 'Guild');

  const { body: invite } = await instance.get(`${path}/invite`);
  await instance.call('DELETE', `${path}/participants`, { participants: [bob.number] });
  await instance.event('group.updated', ({ action }) => action === 'participants_removed');
  assert.equal(await bruno.sock.groupAcceptInvite(invite.code), jid);
  await instance.event('group.updated', ({ action }) => action === 'participants_joined');
  assert.equal((await bruno.messageWith(await instance.send(jid, 'back so soon?'))).text, 'back so soon?');
  await instance.call('PATCH', path, { join_approval: true });
  await instance.call('DELETE', `${path}/participants`, { participants: [bob.number] });
  await bruno.sock.groupAcceptInvite(invite.code);
  await instance.event('group.updated', ({ action }) => action === 'join_requested');
  const { body: waiting } = await instance.get(`${path}/requests`);
  assert.deepEqual(waiting.requests.map((request) => request.jid), [bob.jid]);
  const decided = await instance.post(`${path}/requests`, { approve: [bob.number] });
  assert.deepEqual(decided.body.participants, [{ jid: bob.jid, lid: bob.lid, status: '200' }]);
  assert.equal((await bruno.messageWith(await instance.send(jid, 'third time'))).text, 'third time');

  const { body: listed } = await instance.get('/groups');
  assert.deepEqual(listed.groups.map((group) => [group.jid, group.size]), [[jid, 3]]);
  assert.equal((await instance.post(`${path}/leave`, {})).status, 200);
  assert.equal((await instance.get(path)).status, 404);
  const refused = await instance.post('/send-message', { recipient: jid, message: 'gone' });
  assert.deepEqual([refused.status, refused.body.error.code], [422, 'RECIPIENT_NOT_ON_WHATSAPP']);
});

story('statuses go both ways, and only to whom they are for', async (cast) => {
  const all = await four(cast);
  const { ines, bob, instance, bruno, clara, dora, platform } = all;
  const first = await instance.sends('/send-status', { text: 'sunny', background: '#0000FF', font: 1, recipients: [bob.number] });
  const seen = await bruno.messageWith(first);
  assert.deepEqual([seen.text, seen.key.remoteJid, seen.message.extendedTextMessage.backgroundArgb], ['sunny', 'status@broadcast', 0xff0000ff]);
  // Now to everybody known: after a word with each.
  await platform.messageWith(await bruno.send(ines.jid, 'nice'));
  await platform.messageWith(await clara.send(ines.jid, 'hello'));
  const image = png({ side: 20 });
  const shelf = await cast.shelf({ '/image': { type: 'image/png', bytes: image } });
  const media = { media_url: `${shelf.url}/image`, media_type: 'image', caption: 'the view' };
  const second = await instance.sends('/send-status', media);
  for (const companion of [bruno, clara]) {
    const received = await companion.contentWith(second);
    assert.equal(received.message.imageMessage.caption, 'the view');
    assert.deepEqual(await companion.download(received), image);
  }
  assert.ok(!clara.arrived.items.includes(first), 'the first was not for Carla');
  assert.equal((await ines.message(second)).chat, 'status@broadcast', 'the own phone has it');

  for (const text of ['rainy', 'windy']) {
    const { key } = await bruno.sock.sendMessage('status@broadcast', { text }, { statusJidList: [ines.jid] });
    const event = await instance.event('message.received', (data) => data.whatsapp_message_id === key.id);
    assert.deepEqual([event.content, event.sender_number, event.is_status], [text, bob.number, true]);
  }
  assert.ok(platform.incoming().every(({ remoteJid }) => remoteJid !== 'status@broadcast'), 'not for the platform');
  const { messages } = await cast.sandbox.get(`${dora.path}/messages`);
  assert.ok(messages.every(({ chat }) => chat !== 'status@broadcast'), 'who only shares a group is not known');
});
