// Every function that an unmodified Baileys has for communities and newsletters, beside an instance that sees what comes
// of it; and the other way round. The stories of 25 are the usual ways; these are the rest.

import assert from 'node:assert/strict';

import sharp from 'sharp';

import { png } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

/** What the local web server has may be fetched only so. */
const PRIVATE = ['--media-allow-private'];

/** Baileys complains of every notification about newsletters that is not of a form which the server has left behind. */
const NOTIFIED = [/invalid mex newsletter notification/, /Unknown newsletter notification child/];

const group = (jid) => `/groups/${encodeURIComponent(jid)}`;
const community = (jid) => `/communities/${encodeURIComponent(jid)}`;
const newsletter = (jid) => `/newsletters/${encodeURIComponent(jid)}`;

/** An answer that must be a success. */
async function ok(promise, status = 200) {
  const answer = await promise;
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  return answer.body;
}

/** An instance (Ines), two Baileys (Bob, Carla), a phone alone (Dora). */
async function four(cast) {
  const phones = [];
  for (const name of ['Ines', 'Bob', 'Carla', 'Dora']) phones.push(await cast.phone(name));
  const [ines, bob, carla, dora] = phones;
  const instance = await cast.instance(PRIVATE);
  const [bruno, clara] = [await cast.companion(bob), await cast.companion(carla)];
  await instance.pair(ines);
  cast.expected.push(...NOTIFIED);
  const told = (jid, action, fits = () => true) =>
    instance.event('group.updated', (data) => data.group_jid === jid && data.action === action && fits(data));
  return { ines, bob, carla, dora, instance, bruno, clara, told };
}

const announcements = ({ groups }) => groups.find(({ is_announcement: is }) => is).jid;

story('what Baileys changes of its community, the instance sees', async (cast) => {
  const { ines, bob, carla, dora, instance, bruno, clara, told } = await four(cast);
  const { sock } = bruno;
  const { id: town } = await sock.communityCreate('Town', 'all of us');
  const { id: street } = await sock.communityCreateGroup('Street', [ines.jid, dora.jid], town);
  await told(street, 'created');
  const seen = () => ok(instance.get(group(town)));
  await ok(instance.get(community(town)));

  await sock.communityUpdateSubject(town, 'Township');
  await told(town, 'subject', ({ subject }) => subject === 'Township');
  for (const [setting, name, value] of [
    ['locked', 'locked', true],
    ['unlocked', 'locked', false],
    ['announcement', 'announce', true],
    ['not_announcement', 'announce', false],
  ]) {
    await sock.communitySettingUpdate(town, setting);
    await told(town, name, (data) => data[name] === value);
    assert.equal((await seen())[name], value, setting);
  }
  for (const [mode, value] of [['admin_add', 'admins'], ['all_member_add', 'everyone']]) {
    await sock.communityMemberAddMode(town, mode);
    await told(town, 'member_add', ({ member_add: told }) => told === value);
    assert.equal((await seen()).member_add, value);
  }
  await sock.communityToggleEphemeral(street, 86_400);
  await told(street, 'ephemeral_seconds', ({ ephemeral_seconds: seconds }) => seconds === 86_400);
  await sock.communityToggleEphemeral(street, 0);
  await told(street, 'ephemeral_seconds', ({ ephemeral_seconds: seconds }) => seconds === 0);

  // A group of its own comes in and goes out again.
  const { id: choir } = await sock.groupCreate('Choir', [ines.jid]);
  await told(choir, 'created');
  await sock.communityLinkGroup(choir, town);
  await told(choir, 'community_joined', ({ groups }) => groups[0].jid === town);
  await told(town, 'groups_linked', ({ groups }) => groups[0].jid === choir);
  assert.equal((await ok(instance.get(group(choir)))).parent, town);
  const linked = await sock.communityFetchLinkedGroups(town);
  assert.deepEqual([linked.isCommunity, linked.communityJid], [true, town]);
  const whole = await ok(instance.get(community(town)));
  const jids = (groups, key) => groups.map((one) => one[key]).sort();
  assert.deepEqual(jids(whole.groups, 'jid'), jids(linked.linkedGroups, 'id'), 'both read the same list');
  await sock.communityUnlinkGroup(choir, town);
  await told(choir, 'community_left');
  assert.equal((await ok(instance.get(group(choir)))).parent, null);

  // In by the link, and whom that concerns.
  const old = await sock.communityInviteCode(town);
  const code = await sock.communityRevokeInvite(town);
  await told(town, 'invite_revoked');
  assert.equal((await instance.get(`/groups/invite/${old}`)).status, 404);
  assert.equal((await ok(instance.get(`/groups/invite/${code}`))).jid, town);
  await clara.sock.communityAcceptInvite(code);
  await told(town, 'participants_joined', ({ participants: [one] }) => one.phone === carla.number);
  const news = announcements(whole);
  const market = await bruno.send(news, 'a market on Sunday');
  assert.equal((await clara.messageWith(market)).text, 'a market on Sunday');
  assert.equal(textOf(await instance.platform.messageWith(market)), 'a market on Sunday');
  await clara.sock.communityLeave(town);
  for (const left of [town, news]) await told(left, 'participants_left', ({ participants: [one] }) => one.phone === carla.number);

  // Once admins approve, whoever comes by the link waits.
  await sock.communityJoinApprovalMode(town, 'on');
  await told(town, 'join_approval', ({ join_approval: on }) => on === true);
  await clara.sock.communityAcceptInvite(code);
  await told(town, 'join_requested', ({ participants: [one] }) => one.phone === carla.number);
  const [asking] = await sock.communityRequestParticipantsList(town);
  assert.deepEqual([asking.jid, asking.phone_number], [carla.lid, carla.jid]);
  assert.deepEqual(await sock.communityRequestParticipantsUpdate(town, [asking.jid], 'approve'), [{ status: '200', jid: carla.lid }]);
  await told(town, 'participants_added', ({ participants: [one] }) => one.phone === carla.number);
  assert.equal((await ok(instance.get(`${community(town)}/participants`))).total, 4);
  await sock.communityJoinApprovalMode(town, 'off');
  await told(town, 'join_approval', ({ join_approval: on }) => on === false);

  // Ranks, and out of everything.
  for (const [change, action] of [['promote', 'participants_promoted'], ['demote', 'participants_demoted']]) {
    const [result] = await sock.communityParticipantsUpdate(town, [carla.lid], change);
    assert.equal(result.status, '200');
    await told(town, action, ({ participants: [one] }) => one.lid === carla.lid);
  }
  await sock.groupParticipantsUpdate(street, [carla.lid], 'add');
  await told(street, 'participants_added');
  await sock.communityParticipantsUpdate(town, [carla.lid], 'remove');
  for (const left of [town, street, news]) await told(left, 'participants_removed', ({ participants: [one] }) => one.lid === carla.lid);

  // Who may not be added is invited: one invitation ends, the next is taken.
  await cast.sandbox.post(`${carla.path}/privacy`, { groupadd: 'none' });
  const invitation = async () => {
    const [{ status, content }] = await sock.communityParticipantsUpdate(town, [carla.jid], 'add');
    assert.equal(status, '403');
    const { code: inviteCode, expiration } = content.content.find(({ tag }) => tag === 'add_request').attrs;
    return { groupJid: town, inviteCode, inviteExpiration: Number(expiration) };
  };
  const first = await invitation();
  assert.equal(await sock.communityRevokeInviteV4(town, carla.jid), true);
  await assert.rejects(clara.sock.communityAcceptInviteV4(bob.jid, first), /not-acceptable/);
  assert.equal(await clara.sock.communityAcceptInviteV4(bob.jid, await invitation()), town);
  await told(news, 'participants_added', ({ participants: [one] }) => one.lid === carla.lid);

  // Three of its functions read another element than WhatsApp answers with (`community` for `group`), and fail there as they
  // do here; a fourth finds nothing. The same is to be had by its functions for groups.
  await assert.rejects(sock.communityMetadata(town), TypeError);
  await assert.rejects(sock.communityUpdateDescription(town, 'x'), TypeError);
  await assert.rejects(sock.communityGetInviteInfo(code), TypeError);
  assert.deepEqual(await sock.communityFetchAllParticipating(), {});
  await sock.groupUpdateDescription(town, 'all of us, and more');
  await told(town, 'description', ({ description }) => description === 'all of us, and more');
  const metadata = await sock.groupMetadata(town);
  assert.deepEqual([metadata.subject, metadata.desc, metadata.isCommunity], ['Township', 'all of us, and more', true]);
  assert.ok(Object.keys(await sock.groupFetchAllParticipating()).includes(town));
});

story('what the instance changes of its community, Baileys sees', async (cast) => {
  const { bob, carla, dora, instance, bruno, clara, told } = await four(cast);
  const { community: made } = await ok(instance.post('/communities', { subject: 'County', description: 'far and wide' }), 201);
  const county = made.jid;
  const { group: team } = await ok(instance.post(`${community(county)}/groups`, { subject: 'Team', participants: [bob.number] }), 201);
  const metadata = (jid) => bruno.sock.groupMetadata(jid);
  const before = await metadata(county);
  assert.deepEqual([before.subject, before.desc, before.isCommunity], ['County', 'far and wide', true]);
  assert.equal((await metadata(team.jid)).linkedParent, county);

  const change = (fields) => ok(instance.call('PATCH', group(county), fields));
  await change({ subject: 'Counties', description: 'two of them', locked: true, member_add: 'everyone', join_approval: true });
  const after = await metadata(county);
  assert.deepEqual(
    [after.subject, after.desc, after.restrict, after.memberAddMode, after.joinApprovalMode],
    ['Counties', 'two of them', true, true, true],
  );

  const { code } = await ok(instance.get(`${group(county)}/invite`));
  await clara.sock.communityAcceptInvite(code);
  await told(county, 'join_requested', ({ participants: [one] }) => one.phone === carla.number);
  const { requests } = await ok(instance.get(`${group(county)}/requests`));
  assert.deepEqual(requests.map(({ jid, lid }) => [jid, lid]), [[carla.jid, carla.lid]]);
  await ok(instance.post(`${group(county)}/requests`, { approve: [carla.number] }));
  assert.equal((await clara.sock.groupMetadata(county)).subject, 'Counties');
  const whole = await ok(instance.get(community(county)));
  const news = announcements(whole);
  const market = await instance.send(news, 'a fair in May');
  for (const one of [bruno, clara]) assert.equal((await one.messageWith(market)).text, 'a fair in May');
  const linked = await clara.sock.communityFetchLinkedGroups(county);
  assert.deepEqual(linked.linkedGroups.map(({ id }) => id).sort(), whole.groups.map(({ jid }) => jid).sort());

  // A group of the instance comes in, a Baileys leaves everything, another one is put out of everything.
  const { group: choir } = await ok(instance.post('/groups', { subject: 'Choir', participants: [carla.number, dora.number] }), 201);
  await ok(instance.call('PUT', `${community(county)}/groups/${choir.jid}`));
  assert.equal((await clara.sock.groupMetadata(choir.jid)).linkedParent, county);
  await bruno.sock.communityLeave(county);
  for (const left of [county, team.jid, news]) await told(left, 'participants_left', ({ participants: [one] }) => one.phone === bob.number);
  await assert.rejects(metadata(team.jid), /forbidden/);
  await ok(instance.call('DELETE', `${community(county)}/participants`, { participants: [carla.number] }));
  for (const left of [county, choir.jid, news]) {
    await told(left, 'participants_removed', ({ participants: [one] }) => one.phone === carla.number);
    await assert.rejects(clara.sock.groupMetadata(left), /forbidden/);
  }
  await ok(instance.call('DELETE', `${community(county)}/groups/${choir.jid}`));
  await ok(instance.call('DELETE', community(county)));
  await assert.rejects(metadata(county), /item-not-found/);
});

story('a newsletter of Baileys changes in every way that it has, and its owner with it', async (cast) => {
  const { ines, carla, instance, bruno, clara } = await four(cast);
  const { sock } = bruno;
  const { id: jid } = await sock.newsletterCreate('Weather');
  await ok(instance.post(`${newsletter(jid)}/follow`));
  await clara.sock.newsletterFollow(jid);
  const changed = (fits) => instance.event('newsletter.updated', (data) => data.newsletter_jid === jid && data.action === 'changed' && fits(data));

  await sock.newsletterUpdateDescription(jid, 'every morning');
  await changed(({ description }) => description === 'every morning');
  await sock.newsletterUpdate(jid, { name: 'Weather and tides' });
  await changed(({ name }) => name === 'Weather and tides');
  const seen = () => clara.sock.newsletterMetadata('jid', jid);
  const background = { r: 20, g: 80, b: 200 };
  await sock.newsletterUpdatePicture(jid, await sharp({ create: { width: 700, height: 500, channels: 3, background } }).jpeg().toBuffer());
  const { picture, preview } = (await seen()).thread_metadata;
  assert.ok(picture.id && picture.direct_path && preview.direct_path && picture.direct_path !== preview.direct_path);
  const fetched = await clara.sock.newsletterMetadata('jid', jid);
  assert.equal(fetched.thread_metadata.description.text, 'every morning');
  await sock.newsletterRemovePicture(jid);
  assert.equal((await seen()).thread_metadata.picture.direct_path, '');

  await clara.sock.newsletterMute(jid);
  assert.equal((await seen()).viewer_metadata.mute, 'ON');
  assert.equal((await ok(instance.get(newsletter(jid)))).muted, false, 'of Clara alone');
  await clara.sock.newsletterUnmute(jid);
  assert.equal((await seen()).viewer_metadata.mute, 'OFF');

  const { subscribers } = await sock.newsletterSubscribers(jid);
  assert.deepEqual(subscribers.edges.map(({ node, role }) => [node.pn, role]).filter(([pn]) => pn === ines.jid), [[ines.jid, 'SUBSCRIBER']]);
  assert.equal(subscribers.edges.length, 3);
  await clara.sock.newsletterUnfollow(jid);
  assert.equal((await seen()).viewer_metadata.role, 'GUEST');

  // The instance owns it from now on, posts, and the owner before is an admin until that is taken away.
  await sock.newsletterChangeOwner(jid, ines.lid);
  assert.equal((await ok(instance.get(newsletter(jid)))).role, 'owner');
  assert.equal(await sock.newsletterAdminCount(jid), 2);
  const mine = await instance.sends(`${newsletter(jid)}/messages`, { message: 'under new management' });
  assert.equal((await bruno.messageWith(mine)).text, 'under new management');
  const still = await bruno.send(jid, 'as an admin');
  assert.equal(textOf(await instance.platform.messageWith(still)), 'as an admin');
  await assert.rejects(sock.newsletterDemote(jid, ines.lid), /forbidden/i);
  await assert.rejects(sock.newsletterDelete(jid), /forbidden/i);
  await ok(instance.call('DELETE', newsletter(jid)));
  await assert.rejects(seen(), /not found/i);

  // And one that an owner demotes.
  const { id: other } = await clara.sock.newsletterCreate('Tides');
  await sock.newsletterFollow(other);
  await clara.sock.newsletterChangeOwner(other, bruno.sock.user.lid);
  await sock.newsletterDemote(other, carla.lid);
  assert.equal((await clara.sock.newsletterMetadata('jid', other)).viewer_metadata.role, 'SUBSCRIBER');
  assert.equal(await sock.newsletterAdminCount(other), 1);
});

story('posts of the instance are edited and taken back, and survive a restart of WhatsApp', async (cast) => {
  const { dora, instance, bruno } = await four(cast);
  const { newsletter: made } = await ok(instance.post('/newsletters', { name: 'Menu' }), 201);
  const { jid } = made;
  await bruno.sock.newsletterFollow(jid);
  await cast.sandbox.post(`${newsletter(jid)}/follow`, { number: dora.number });
  const post = (body) => instance.sends(`${newsletter(jid)}/messages`, body);
  const change = (id, message) => instance.sends(`/messages/${id}`, { to: jid, message }, 'PATCH');
  const posted = async () => (await cast.sandbox.get(newsletter(jid))).posts.map(({ id, text }) => [id, text ?? null]);

  const soup = await post({ message: 'suop' });
  assert.equal((await bruno.messageWith(soup)).text, 'suop');
  await change(soup, 'soup');
  await bruno.messages.find('the better text', ({ id, text }) => id === soup && text === 'soup');
  await instance.event('message.edited', ({ whatsapp_message_id: id, content }) => id === soup && content === 'soup');

  // Of a picture the caption changes; the picture stays.
  const image = png({ side: 40 });
  const shelf = await cast.shelf({ '/image': { type: 'image/png', bytes: image } });
  const picture = await post({ media_url: `${shelf.url}/image`, media_type: 'image', caption: 'lunhc' });
  const first = (await bruno.contentWith(picture)).message.imageMessage;
  await change(picture, 'lunch');
  const again = await bruno.messages.find('the better caption', ({ id, message }) => id === picture && message.imageMessage?.caption === 'lunch');
  assert.equal(again.message.imageMessage.directPath, first.directPath);

  const gone = await post({ message: 'not today' });
  await bruno.messageWith(gone);
  await instance.sends(`/messages/${gone}?to=${encodeURIComponent(jid)}`, undefined, 'DELETE');
  await instance.event('message.deleted', ({ whatsapp_message_id: id }) => id === gone);
  const all = [[soup, 'soup'], [picture, null], [gone, null]];
  assert.deepEqual(await posted(), all);
  const nobodys = await instance.call('PATCH', '/messages/3EB0NOTHING', { to: jid, message: 'x' });
  assert.deepEqual([nobodys.status, nobodys.body.error.code], [404, 'MESSAGE_NOT_FOUND']);

  // What became of them since: the instance asks as Baileys does.
  await bruno.sock.newsletterReactMessage(jid, '100', '😋');
  const since = encodeURIComponent(new Date(Date.now() - 60_000).toISOString());
  const { messages } = await ok(instance.get(`${newsletter(jid)}/messages?since=${since}`));
  assert.deepEqual(messages.map(({ key, reactions }) => [key.id, reactions.length]), [[gone, 0], [picture, 0], [soup, 1]]);
  const updates = await bruno.sock.newsletterFetchMessages(jid, 10, Math.floor(Date.now() / 1000) - 60);
  assert.deepEqual(updates.content[0].content[0].content.map(({ attrs }) => attrs.id), [soup, picture, gone]);

  await bruno.stop();
  assert.deepEqual(await cast.sandbox.restart(), { code: 0, signal: null });
  await instance.link('connected again', ({ status }) => status === 'connected');
  await bruno.start();
  assert.deepEqual(await posted(), all);
  assert.deepEqual((await ok(instance.get('/newsletters'))).newsletters.map((one) => [one.jid, one.role, one.followers]), [[jid, 'owner', 3]]);
  const more = await post({ message: 'dessert' });
  assert.equal((await bruno.messageWith(more)).text, 'dessert');
  await change(soup, 'soup, again');
  assert.deepEqual((await posted())[0], [soup, 'soup, again']);
}, { kept: true });
