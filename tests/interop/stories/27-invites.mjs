// Invitations into groups by a message, both ways between an instance and Baileys.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';

story('who may not be added is invited by a message, and a Baileys comes in by it', async (cast) => {
  const phones = [];
  for (const name of ['Ines', 'Bob', 'Dora']) phones.push(await cast.phone(name));
  const [ines, bob, dora] = phones;
  const instance = await cast.instance();
  const bruno = await cast.companion(bob);
  await instance.pair(ines);
  for (const phone of [bob, ines]) await cast.sandbox.post(`${phone.path}/privacy`, { groupadd: 'none' });

  const { body: made } = await instance.call('POST', '/groups', { subject: 'Team', participants: [dora.number] });
  const group = made.group.jid;
  const { body: added } = await instance.call('POST', `/groups/${group}/participants`, { participants: [bob.number], invite: true });
  const [result] = added.participants;
  assert.deepEqual([result.jid, result.status], [bob.jid, '403']);
  const received = await bruno.contentWith(result.invite.message_id);
  const invite = received.message.groupInviteMessage;
  assert.deepEqual([invite.groupJid, invite.inviteCode, invite.groupName], [group, result.invite.code, 'Team']);
  assert.equal(await bruno.sock.groupAcceptInviteV4(received.key, invite), group);
  await instance.event('group.updated', ({ action }) => action === 'participants_joined');
  const hello = await bruno.send(group, 'here I am');
  await instance.platform.messageWith(hello);

  // And the other way round: a Baileys invites the account.
  const { id: club } = await bruno.sock.groupCreate('Club', [dora.jid]);
  const [refused] = await bruno.sock.groupParticipantsUpdate(club, [ines.jid], 'add');
  assert.equal(refused.status, '403');
  const { code, expiration } = refused.content.content.find(({ tag }) => tag === 'add_request').attrs;
  // `sendMessage` would want the group's picture, which it has none of.
  const groupInviteMessage = { groupJid: club, inviteCode: code, inviteExpiration: Number(expiration), groupName: 'Club', caption: 'come' };
  const sent = await bruno.sock.relayMessage(ines.jid, { groupInviteMessage }, {});
  const { group_invite: told } = await instance.event('message.received', (data) => data.whatsapp_message_id === sent);
  assert.deepEqual(told, { group: club, code, expiration: Number(expiration), group_name: 'Club', caption: 'come' });
  const { body: joined } = await instance.call('POST', '/groups/join', { message_id: sent });
  assert.deepEqual([joined.jid, joined.status], [club, 'joined']);
  const thanks = await instance.send(club, 'thanks');
  assert.equal((await bruno.messageWith(thanks)).text, 'thanks');
});
