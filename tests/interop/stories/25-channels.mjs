// Newsletters among an instance, an unmodified Baileys and a phone: made, followed, posted to, read, reacted to.

import assert from 'node:assert/strict';

import { png } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

/** What the local web server has may be fetched only so. */
const PRIVATE = ['--media-allow-private'];

/** Baileys complains of every notification about newsletters that is not of a form which the server has left behind. */
const NOTIFIED = [/invalid mex newsletter notification/, /Unknown newsletter notification child/];

const path = (jid) => `/newsletters/${encodeURIComponent(jid)}`;

/** An answer that must be a success. */
async function ok(promise, status = 200) {
  const answer = await promise;
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  return answer.body;
}

/** An instance (Ines) and a Baileys (Bob). */
async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const instance = await cast.instance(PRIVATE);
  const bruno = await cast.companion(bob);
  await instance.pair(ines);
  cast.expected.push(...NOTIFIED);
  return { ines, bob, instance, bruno, platform: instance.platform };
}

story('a newsletter of Baileys is found, followed, read and reacted to', async (cast) => {
  const { instance, bruno, platform, bob } = await two(cast);
  const made = await bruno.sock.newsletterCreate('Weather', 'every morning');
  assert.deepEqual([made.name, made.description, made.subscribers], ['Weather', 'every morning', 1]);
  const early = await bruno.send(made.id, 'before anybody followed');

  const byLink = await ok(instance.get(`/newsletters/invite/${made.invite}`));
  assert.deepEqual([byLink.jid, byLink.name, byLink.role, byLink.followers], [made.id, 'Weather', 'guest', 1]);
  await ok(instance.post(`${path(made.id)}/follow`));
  await instance.event('newsletter.updated', ({ action, newsletter_jid: jid }) => action === 'followed' && jid === made.id);
  const list = await ok(instance.get('/newsletters'));
  assert.deepEqual(list.newsletters.map(({ jid, role, followers }) => [jid, role, followers]), [[made.id, 'subscriber', 2]]);

  const live = await bruno.send(made.id, 'sunny');
  const posted = await platform.messageWith(live);
  assert.equal(textOf(posted), 'sunny');
  assert.deepEqual([posted.remoteJid, posted.isGroup, posted.key.fromMe], [made.id, false, false]);
  const { messages } = await ok(instance.get(`${path(made.id)}/messages`));
  assert.deepEqual(messages.map((post) => [post.key.id, textOf(post)]), [[live, 'sunny'], [early, 'before anybody followed']]);
  assert.equal(messages[0].server_id, messages[1].server_id + 1);
  const older = await ok(instance.get(`${path(made.id)}/messages?before=${live}&count=5`));
  assert.deepEqual(older.messages.map(({ key }) => key.id), [early]);
  assert.equal(platform.incoming('before anybody followed').length, 0, 'the past is no news');

  assert.equal((await ok(instance.post(`${path(made.id)}/live`))).seconds, 300);
  await ok(instance.post(`${path(made.id)}/messages/${live}/reaction`, { emoji: '☀️' }));
  const counted = await instance.event('newsletter.updated', ({ action }) => action === 'counted');
  assert.deepEqual(counted.reactions, [{ emoji: '☀️', count: 1 }]);
  assert.equal(counted.whatsapp_message_id, live);
  await bruno.sock.newsletterReactMessage(made.id, String(messages[0].server_id), '☀️');
  await instance.event('newsletter.updated', ({ reactions }) => reactions?.[0]?.count === 2);
  await ok(instance.post(`${path(made.id)}/views`, { message_ids: [live] }));
  await instance.event('newsletter.updated', ({ views }) => views === 1);

  const edited = (await cast.sandbox.post(`${path(made.id)}/post`, { number: bob.number, text: 'rain', id: live })).id;
  const change = await instance.event('message.edited', ({ whatsapp_message_id: id }) => id === edited);
  assert.equal(change.content, 'rain');
  await cast.sandbox.post(`${path(made.id)}/post`, { number: bob.number, id: live });
  await instance.event('message.deleted', ({ whatsapp_message_id: id }) => id === live);

  await bruno.sock.newsletterUpdateName(made.id, 'Weather and tides');
  await instance.event('newsletter.updated', ({ action, name }) => action === 'changed' && name === 'Weather and tides');
  await ok(instance.post(`${path(made.id)}/mute`));
  assert.equal((await ok(instance.get(path(made.id)))).muted, true);
  await ok(instance.call('DELETE', `${path(made.id)}/mute`));
  await ok(instance.call('DELETE', `${path(made.id)}/follow`));
  assert.equal((await ok(instance.get('/newsletters'))).total, 0);
  await bruno.sock.newsletterDelete(made.id);
  assert.equal((await instance.get(path(made.id))).body.error.code, 'NEWSLETTER_NOT_FOUND');
});

story('Baileys and a phone read a newsletter of the instance', async (cast) => {
  const { instance, bruno, bob } = await two(cast);
  const dora = await cast.phone('Dora');
  const { newsletter } = await ok(instance.post('/newsletters', { name: 'Menu', description: 'of the day' }), 201);
  const { jid } = newsletter;
  assert.equal(newsletter.role, 'owner');
  const code = newsletter.invite_link.split('/').at(-1);
  const seen = await bruno.sock.newsletterMetadata('invite', code);
  assert.deepEqual([seen.id, seen.thread_metadata.name.text, seen.viewer_metadata.role], [jid, 'Menu', 'GUEST']);
  await bruno.sock.newsletterFollow(jid);
  await cast.sandbox.post(`${path(jid)}/follow`, { number: dora.number });
  assert.equal((await ok(instance.get(path(jid)))).followers, 3);

  const id = await instance.sends(`${path(jid)}/messages`, { message: 'soup' });
  assert.equal((await bruno.messageWith(id)).text, 'soup');
  const atDora = await dora.message(id);
  assert.deepEqual([atDora.text, atDora.chat], ['soup', jid]);
  await instance.event('message.sent', ({ whatsapp_message_id }) => whatsapp_message_id === id);

  const image = png({ side: 40 });
  const shelf = await cast.shelf({ '/image': { type: 'image/png', bytes: image } });
  const picture = { media_url: `${shelf.url}/image`, media_type: 'image', caption: 'it looks like this' };
  const pictured = await instance.sends(`${path(jid)}/messages`, picture);
  const { message } = await bruno.contentWith(pictured);
  assert.equal(message.imageMessage.caption, 'it looks like this');
  assert.ok(!message.imageMessage.mediaKey?.length, 'nothing is encrypted');
  assert.deepEqual((await instance.file(pictured)).bytes, image, 'what it posted can be had from the instance');

  const posts = await bruno.sock.newsletterFetchMessages(jid, 10);
  const ids = posts.content[0].content[0].content.map(({ attrs }) => attrs.id);
  assert.deepEqual(ids, [id, pictured]);
  const { duration } = await bruno.sock.subscribeNewsletterUpdates(jid);
  assert.equal(duration, '300');
  await ok(instance.post(`${path(jid)}/live`));
  const [{ server_id: serverId }] = (await ok(instance.get(`${path(jid)}/messages?count=1`))).messages;
  await bruno.sock.newsletterReactMessage(jid, String(serverId), '😋');
  const counted = await instance.event('newsletter.updated', ({ action, reactions }) => action === 'counted' && reactions.length === 1);
  assert.deepEqual([counted.reactions, counted.server_id], [[{ emoji: '😋', count: 1 }], serverId]);
  await bruno.sock.newsletterReactMessage(jid, String(serverId));
  await instance.event('newsletter.updated', ({ action, reactions }) => action === 'counted' && reactions.length === 0);
  assert.equal(await bruno.sock.newsletterAdminCount(jid), 1);

  // A picture of Baileys, the other way round.
  const other = await bruno.sock.newsletterCreate('Pictures');
  await ok(instance.post(`${path(other.id)}/follow`));
  const back = await bruno.send(other.id, { image, caption: 'mine' });
  await instance.platform.messageWith(back);
  assert.deepEqual((await instance.file(back)).bytes, image);

  const refused = await instance.post(`${path(other.id)}/messages`, { message: 'not mine' });
  assert.deepEqual([refused.status, refused.body.error.code], [500, 'SEND_FAILED']);
  assert.equal(refused.body.error.details.whatsapp_code, 403);
  const ordinary = await instance.post('/send-message', { recipient: jid, message: 'no' });
  assert.equal(ordinary.status, 422, 'posting has its own route');
  assert.ok(bob);
});

const community = (jid) => `/communities/${encodeURIComponent(jid)}`;

story('a community of Baileys and one of the instance: linked, filled, ended', async (cast) => {
  const { instance, bruno, bob, ines } = await two(cast);
  const dora = await cast.phone('Dora');

  const town = await bruno.sock.communityCreate('Town', 'all of us');
  assert.equal(town.isCommunity, true);
  const street = await bruno.sock.communityCreateGroup('Street', [ines.jid, dora.jid], town.id);
  assert.equal(street.linkedParent, town.id);
  await instance.event('group.updated', ({ action, group_jid: jid }) => action === 'created' && jid === street.id);
  const seen = await ok(instance.get(`/groups/${street.id}`));
  assert.deepEqual([seen.parent, seen.community, seen.is_announcement], [town.id, false, false]);
  const whole = await ok(instance.get(community(town.id)));
  assert.deepEqual([whole.community, whole.subject], [true, 'Town']);
  assert.ok(whole.groups.some(({ is_announcement: announcement }) => announcement));
  assert.ok(whole.groups.some(({ jid }) => jid === street.id));
  const news = whole.groups.find(({ is_announcement: announcement }) => announcement).jid;
  const announced = await bruno.send(news, 'a market on Sunday');
  assert.equal(textOf(await instance.platform.messageWith(announced)), 'a market on Sunday');
  assert.equal((await dora.message(announced)).text, 'a market on Sunday');

  const { body: made } = await instance.post('/communities', { subject: 'County' });
  const county = made.community.jid;
  const team = await ok(instance.post('/groups', { subject: 'Team', participants: [bob.number, dora.number] }), 201);
  await ok(instance.call('PUT', `${community(county)}/groups/${team.group.jid}`));
  await instance.event('group.updated', ({ action, group_jid: jid }) => action === 'community_joined' && jid === team.group.jid);
  const { linkedGroups, communityJid } = await bruno.sock.communityFetchLinkedGroups(team.group.jid);
  assert.equal(communityJid, county);
  assert.ok(linkedGroups.some(({ id }) => id === team.group.jid));
  assert.equal((await ok(instance.get(`${community(county)}/participants`))).total, 3);
  const gone = await ok(instance.call('DELETE', `${community(county)}/participants`, { participants: [dora.number] }));
  assert.deepEqual(gone.results.map(({ status }) => status), ['200']);
  const left = await instance.send(team.group.jid, 'without Dora');
  await bruno.messageWith(left);
  assert.equal((await ok(instance.get('/communities'))).total, 2);
  await ok(instance.call('DELETE', `${community(county)}/groups/${team.group.jid}`));
  await ok(instance.call('DELETE', community(county)));
  assert.equal((await instance.get(community(county))).status, 404);
  assert.equal((await ok(instance.get(`/groups/${team.group.jid}`))).parent, null);
});
