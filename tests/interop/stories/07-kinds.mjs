// Everything that is no plain text, between an instance and an unmodified Baileys, both ways.

import assert from 'node:assert/strict';

import { textOf } from '../lib/baileys.mjs';
import { png } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';

/** The instance is a companion of Ines' phone, Baileys one of Bob's; each has a message of the other. */
async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const [instance, bruno] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ines);
  const { platform } = instance;
  const ours = await bruno.messageWith(await instance.send(bob.number, 'from the instance'));
  const theirs = await bruno.send(ines.jid, 'from Baileys');
  await platform.messageWith(theirs);
  return { ines, bob, instance, bruno, platform, ours, theirs };
}

const contentAt = async (bruno, id) => (await bruno.contentWith(id)).message;
const postAt = async (platform, id) => (await platform.messageWith(id)).message;

story('a reaction of the instance reaches Baileys, and so does its removal', async (cast) => {
  const { ines, bob, instance, bruno, platform, theirs } = await two(cast);
  for (const emoji of ['👍', '👩‍👩‍👧‍👦', '']) {
    const id = await instance.sends('/send-reaction', { to: bob.jid, messageId: theirs, emoji });
    const seen = await bruno.reactions.find(`the reaction "${emoji}"`, ({ key }) => key.id === id);
    assert.deepEqual([seen.id, seen.text], [theirs, emoji]);
    const { body } = await platform.posts.find('the own reaction', (post) => isReaction(post, id));
    assert.equal(body.reaction.text, emoji);
    assert.equal(body.senderJid, ines.jid);
    assert.deepEqual(body.key, { remoteJid: bob.jid, id: theirs, fromMe: false });
  }
});

story('a reaction of Baileys reaches the platform and the log, and so does its removal', async (cast) => {
  const { ines, bob, instance, bruno, platform, ours } = await two(cast);
  for (const emoji of ['❤️', '']) {
    const id = await bruno.send(ines.jid, { react: { text: emoji, key: ours.key } });
    const { body } = await platform.posts.find(`the reaction "${emoji}"`, (post) => isReaction(post, id));
    assert.deepEqual(body.key, { remoteJid: bob.jid, id: ours.id, fromMe: true });
    assert.equal(body.reaction.text, emoji);
    assert.equal(body.senderJid, bob.jid);
    assert.ok(Math.abs(body.reaction.timestamp - Date.now()) < 120_000);
    const event = await instance.event('message.reaction', (data) => data.emoji === emoji);
    assert.deepEqual([event.whatsapp_message_id, event.sender_number], [ours.id, bob.number]);
  }
  // Reactions are no messages.
  assert.deepEqual(platform.incoming().filter(({ message }) => message.reactionMessage), []);
});

const isReaction = ({ kind, body }, id) => kind === 'reaction' && body.reaction.key.id === id;

story('a place, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const place = { latitude: -23.5614, longitude: -46.6559, name: 'MASP', address: 'Av. Paulista, 1578' };
  const { locationMessage } = await contentAt(bruno, await instance.sends('/send-location', { to: bob.number, ...place }));
  assert.deepEqual(placeOf(locationMessage), place);
  const location = { degreesLatitude: place.latitude, degreesLongitude: place.longitude, name: 'MASP', address: place.address };
  const post = await postAt(platform, await bruno.send(ines.jid, { location }));
  assert.deepEqual(placeOf(post.locationMessage), place);
});

const placeOf = ({ degreesLatitude, degreesLongitude, name, address }) =>
  ({ latitude: degreesLatitude, longitude: degreesLongitude, name, address });

story('one contact and several, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const [eva, joao] = [{ name: 'Eva; Luna', phone: '+55 11 98888-0001', organization: 'Luna, Ltda.' }, { name: 'João', phone: '5511988880002' }];
  const one = await contentAt(bruno, await instance.sends('/send-contact', { to: bob.number, contacts: [eva] }));
  assert.equal(one.contactMessage.displayName, 'Eva; Luna');
  assert.match(one.contactMessage.vcard, /^BEGIN:VCARD\nVERSION:3\.0\n[^]*FN:Eva\\; Luna\n[^]*ORG:Luna\\, Ltda\.;\n[^]*waid=5511988880001:\+5511988880001\nEND:VCARD$/);
  const both = await contentAt(bruno, await instance.sends('/send-contact', { to: bob.number, contacts: [eva, joao] }));
  assert.deepEqual(both.contactsArrayMessage.contacts.map(({ displayName }) => displayName), ['Eva; Luna', 'João']);

  const vcard = 'BEGIN:VCARD\nVERSION:3.0\nFN:Zé\nTEL;type=CELL;waid=5511988880003:+5511988880003\nEND:VCARD';
  const own = await contentAt(bruno, await instance.sends('/send-contact', { to: bob.number, vcard }));
  assert.deepEqual([own.contactMessage.displayName, own.contactMessage.vcard], ['Zé', vcard]);

  const card = { displayName: 'Zé', vcard };
  const single = await postAt(platform, await bruno.send(ines.jid, { contacts: { displayName: 'Zé', contacts: [card] } }));
  assert.deepEqual(single.contactMessage, card);
  const contacts = { displayName: '2 contacts', contacts: [card, { ...card, displayName: 'Zé again' }] };
  const several = await postAt(platform, await bruno.send(ines.jid, { contacts }));
  assert.deepEqual(several.contactsArrayMessage, contacts);
});

story('polls of one choice and of several, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const [question, options] = ['Pizza?', ['sim', 'não', '🍕']];
  for (const [multiple, member, count] of [[false, 'pollCreationMessageV3', 1], [true, 'pollCreationMessage', 0]]) {
    const id = await instance.sends('/send-poll', { to: bob.number, question, options, multiple });
    const message = await contentAt(bruno, id);
    const poll = message[member];
    assert.deepEqual([poll.name, poll.options.map(({ optionName }) => optionName)], [question, options]);
    assert.equal(poll.selectableOptionsCount ?? 0, count);
    // Without it nobody could vote.
    assert.equal(message.messageContextInfo.messageSecret.length, 32);

    const values = options;
    const post = await postAt(platform, await bruno.send(ines.jid, { poll: { name: question, values, selectableCount: count } }));
    assert.deepEqual(post[member].options.map(({ optionName }) => optionName), options);
    assert.equal(post[member].name, question);
    assert.equal(post.messageContextInfo, undefined);
  }
});

story('an edit, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform, ours, theirs } = await two(cast);
  const id = await instance.sends(`/messages/${ours.id}`, { to: bob.number, message: 'changed by the instance' }, 'PATCH');
  const change = await bruno.changes.find('the edit', (change) => change.id === ours.id);
  assert.equal(textOf(change.update.message.editedMessage.message), 'changed by the instance');
  const own = await instance.event('message.edited', ({ whatsapp_message_id }) => whatsapp_message_id === ours.id);
  assert.deepEqual([own.content, own.from_me], ['changed by the instance', true]);
  assert.equal((await postAt(platform, id)).protocolMessage.key.id, ours.id);

  const key = { remoteJid: ines.jid, fromMe: true, id: theirs };
  const edit = await bruno.send(ines.jid, { text: 'changed by Baileys', edit: key });
  const { protocolMessage } = await postAt(platform, edit);
  assert.deepEqual([protocolMessage.type, protocolMessage.key.id], [14, theirs]);
  assert.equal(textOf(protocolMessage.editedMessage), 'changed by Baileys');
  const event = await instance.event('message.edited', ({ whatsapp_message_id }) => whatsapp_message_id === theirs);
  assert.deepEqual([event.content, event.from_me, event.sender_number], ['changed by Baileys', false, bob.number]);
  assert.ok(event.message_id);
});

story('a deletion for everyone, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform, ours, theirs } = await two(cast);
  await instance.sends(`/messages/${ours.id}?to=${bob.number}`, undefined, 'DELETE');
  const change = await bruno.changes.find('the deletion', ({ id }) => id === ours.id);
  assert.equal(change.update.message, null);
  const own = await instance.event('message.deleted', ({ whatsapp_message_id }) => whatsapp_message_id === ours.id);
  assert.equal(own.from_me, true);

  const key = { remoteJid: ines.jid, fromMe: true, id: theirs };
  const { protocolMessage } = await postAt(platform, await bruno.send(ines.jid, { delete: key }));
  assert.deepEqual([protocolMessage.type ?? 0, protocolMessage.key.id], [0, theirs]);
  const event = await instance.event('message.deleted', ({ whatsapp_message_id }) => whatsapp_message_id === theirs);
  assert.deepEqual([event.from_me, event.sender_number], [false, bob.number]);
});

story('mentions, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const id = await instance.send(bob.number, `hello @${bob.number}`, { mentions: [bob.number] });
  const { extendedTextMessage } = await contentAt(bruno, id);
  assert.equal(extendedTextMessage.text, `hello @${bob.number}`);
  assert.deepEqual(extendedTextMessage.contextInfo.mentionedJid, [bob.jid]);
  const post = await postAt(platform, await bruno.send(ines.jid, { text: `oi @${ines.number}`, mentions: [ines.jid] }));
  assert.deepEqual(post.extendedTextMessage.contextInfo.mentionedJid, [ines.jid]);
});

story('a reply to a picture carries the picture, both ways', async (cast) => {
  const { ines, bob, instance, bruno, platform } = await two(cast);
  const picture = png();
  const sent = await instance.sends('/send-media', {
    recipient: bob.number,
    media_type: 'image',
    media_base64: picture.toString('base64'),
    caption: 'ours',
  });
  const { key, message } = await bruno.contentWith(sent);
  const reply = await postAt(platform, await bruno.send(ines.jid, 'nice', { quoted: { key, message } }));
  const quote = reply.extendedTextMessage.contextInfo;
  assert.deepEqual([quote.stanzaId, quote.quotedMessage.imageMessage.caption], [sent, 'ours']);

  const theirs = await bruno.send(ines.jid, { image: picture, caption: 'theirs', jpegThumbnail: null });
  await platform.messageWith(theirs);
  const answer = await contentAt(bruno, await instance.send(bob.number, 'thanks', { reply_to: theirs }));
  const { stanzaId, quotedMessage } = answer.extendedTextMessage.contextInfo;
  assert.deepEqual([stanzaId, quotedMessage.imageMessage.caption], [theirs, 'theirs']);
  assert.deepEqual(await bruno.download({ key: { id: theirs }, message: quotedMessage }), picture);
});

story('what the instance marks as read is seen as read', async (cast) => {
  const { ines, bob, instance, bruno, platform, theirs } = await two(cast);
  const more = await bruno.send(ines.jid, 'and this');
  await platform.messageWith(more);
  await bruno.status(more, 3);
  const { status, body } = await instance.post('/mark-read', { to: bob.number, message_ids: [theirs, more] });
  assert.deepEqual([status, body], [200, { success: true, message: 'Messages marked as read' }]);
  for (const id of [theirs, more]) await bruno.status(id, 4);
  const unknown = await instance.post('/mark-read', { to: bob.number, message_ids: ['3EB000'] });
  assert.deepEqual([unknown.status, unknown.body.error.code], [404, 'MESSAGE_NOT_FOUND']);
});

story('typing, recording and pausing are seen', async (cast) => {
  const { ines, bob, instance, bruno } = await two(cast);
  await bruno.sock.presenceSubscribe(ines.jid);
  await bruno.presences.find('being online', ({ state }) => state === 'available');
  // Baileys reports a pause as being available.
  for (const [state, shown] of [['typing', 'composing'], ['recording', 'recording'], ['paused', 'available']]) {
    const since = bruno.presences.items.length;
    const { status } = await instance.post('/send-presence', { to: bob.number, state });
    assert.equal(status, 200);
    await bruno.presences.find(state, (item) => item.state === shown && bruno.presences.items.indexOf(item) >= since);
  }
});
