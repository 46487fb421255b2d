// Profiles, privacy, blocks, presence, businesses and labels: an instance, unmodified Baileys, and their phones.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import sharp from 'sharp';

import { PATIENCE } from '../lib/journal.mjs';
import { story } from '../lib/story.mjs';

/** A call that must be accepted. */
async function done(instance, method, path, body, expected = 200) {
  const { status, body: answer } = await instance.call(method, path, body);
  assert.equal(status, expected, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

/** What a look gives as soon as it fits. */
async function until(what, look, fits) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const seen = await look();
    if (fits(seen)) return seen;
    if (Date.now() > end) throw new Error(`${what}: nothing that fits, last ${JSON.stringify(seen)}`);
    await sleep(50);
  }
}

const image = (width, height, format = 'jpeg') =>
  sharp({ create: { width, height, channels: 3, background: { r: 200, g: 80, b: 20 } } })[format]().toBuffer();

/** Ana is an instance, Bob a Baileys; each has written to the other. */
async function two(cast) {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const [instance, baileys] = [await cast.instance(), await cast.companion(bob)];
  await instance.pair(ana);
  const id = await instance.send(bob.number, 'hello');
  await baileys.messageWith(id);
  const back = await baileys.send(ana.jid, 'hello yourself');
  await instance.platform.messageWith(back);
  return { ana, bob, instance, baileys };
}

/** What an address of a picture gives, fetched as a client would; the host is the sandbox. */
async function fetched(cast, url) {
  const { pathname, search } = new URL(url);
  const response = await fetch(new URL(pathname + search, cast.sandbox.admin));
  assert.equal(response.headers.get('content-type'), 'image/jpeg');
  return sharp(Buffer.from(await response.arrayBuffer())).metadata();
}

story('the instance has a name, a text and a picture that Baileys sees', async (cast) => {
  const { ana, instance, baileys } = await two(cast);
  const { sock } = baileys;
  let account = await done(instance, 'PATCH', '/account', { name: 'Ana e Filhas', about: 'Aberto até as 18h' });
  assert.deepEqual([account.name, account.about, account.phone], ['Ana e Filhas', 'Aberto até as 18h', ana.number]);
  assert.deepEqual(account.devices.map(({ phone, this: here }) => [phone, here]), [[true, false], [false, true]]);
  const [told] = await sock.fetchStatus(ana.jid);
  assert.equal(told.status.status, 'Aberto até as 18h');
  await ana.record(['setting_pushName'], (value) => value?.pushNameSetting.name === 'Ana e Filhas');
  const id = await instance.send(baileys.jid.split(':')[0].split('@')[0], 'a message with the new name');
  assert.equal((await baileys.messageWith(id)).pushName, 'Ana e Filhas');

  const changed = new Promise((resolve) => sock.ev.on('contacts.update', ([one]) => one.imgUrl && resolve(one)));
  const png = (await image(900, 400, 'png')).toString('base64');
  const set = await done(instance, 'PUT', '/account/picture', { media_base64: png });
  assert.equal((await changed).imgUrl, 'changed');
  const large = await fetched(cast, await sock.profilePictureUrl(ana.jid, 'image'));
  assert.deepEqual([large.format, large.width, large.height], ['jpeg', 400, 400]);
  const small = await fetched(cast, await sock.profilePictureUrl(ana.jid));
  assert.equal(small.width, 96);
  await instance.event('account.updated', ({ picture_id: id }) => id === set.picture_id);
  await done(instance, 'DELETE', '/account/picture');
  await assert.rejects(sock.profilePictureUrl(ana.jid), /item-not-found/);
  assert.equal((await done(instance, 'GET', `/profile-picture?to=${ana.number}`)).url, null);

  account = await instance.call('PUT', '/account/picture', { media_base64: Buffer.from('no image').toString('base64') });
  assert.deepEqual([account.status, account.body.error.code], [422, 'UNSUPPORTED_MEDIA_FORMAT']);
});

story('what Baileys shows of itself is seen and told by the instance', async (cast) => {
  const { bob, instance, baileys } = await two(cast);
  const { sock } = baileys;
  await sock.updateProfileStatus('No trabalho');
  await instance.event('contact.updated', ({ about, phone }) => about === 'No trabalho' && phone === bob.number);
  await sock.updateProfilePicture(bob.jid, await image(640, 640));
  const event = await instance.event('contact.updated', ({ picture_id: id, phone }) => id && phone === bob.number);
  let contact = await done(instance, 'GET', `/contacts/${bob.number}`);
  assert.deepEqual([contact.about, contact.is_business, contact.blocked], ['No trabalho', false, false]);
  assert.equal((await fetched(cast, contact.picture_url)).width, 640);
  const { url, id } = await done(instance, 'GET', `/profile-picture?to=${bob.number}&size=preview`);
  assert.deepEqual([id, (await fetched(cast, url)).width], [event.picture_id, 96]);

  await sock.updateProfileName('Bob Lima');
  await bob.record(['setting_pushName'], (value) => value?.pushNameSetting.name === 'Bob Lima');
  await sock.updateProfilePicturePrivacy('none');
  await sock.updateStatusPrivacy('contacts');
  assert.equal((await done(instance, 'GET', `/profile-picture?to=${bob.number}`)).url, null);
  await sock.removeProfilePicture(bob.jid);
  // Whoever may not see it is not told that it is gone; the address book of the phone decides about the text.
  const other = (await cast.phone('Cida')).number;
  assert.equal((await instance.call('GET', `/contacts/${other}`)).status, 404);
  await bob.contact((await instance.status()).phone, 'Ana');
  await sock.updateProfileStatus('Em casa');
  await instance.event('contact.updated', ({ about }) => about === 'Em casa');
  contact = await done(instance, 'GET', `/contacts/${bob.number}`);
  assert.equal(contact.about, 'Em casa');
});

story('privacy settings travel both ways between the devices of one account', async (cast) => {
  const ana = await cast.phone('Ana');
  const [instance, baileys] = [await cast.instance(), await cast.companion(ana)];
  await instance.pair(ana);
  const { sock } = baileys;
  const changed = { last: 'none', online: 'match_last_seen', readreceipts: 'none', default_ephemeral_seconds: 604800 };
  const settings = await done(instance, 'PATCH', '/account/privacy', changed);
  assert.deepEqual(
    Object.fromEntries(Object.keys(changed).map((name) => [name, settings[name]])),
    changed,
  );
  const seen = await sock.fetchPrivacySettings(true);
  assert.deepEqual([seen.last, seen.online, seen.readreceipts], ['none', 'match_last_seen', 'none']);
  const [{ disappearing_mode: mode }] = await sock.fetchDisappearingDuration(ana.jid);
  assert.equal(mode.duration, 604800);

  await sock.updateGroupsAddPrivacy('contacts');
  await sock.updateLastSeenPrivacy('contacts');
  await instance.event('account.updated', ({ privacy }) => privacy?.groupadd === 'contacts');
  await instance.event('account.updated', ({ privacy }) => privacy?.last === 'contacts');
  await sock.updateDefaultDisappearingMode(86400);
  await instance.event('account.updated', ({ default_ephemeral_seconds: seconds }) => seconds === 86400);
  const now = await done(instance, 'GET', '/account/privacy');
  assert.deepEqual([now.groupadd, now.last, now.default_ephemeral_seconds], ['contacts', 'contacts', 86400]);
  assert.deepEqual(now.status_privacy, { type: 'contacts', people: [] });
  const people = [(await cast.phone('Bob')).jid];
  await done(instance, 'PATCH', '/account/privacy', { status_privacy: { type: 'whitelist', people } });
  await ana.record(['status_privacy'], (value) => value?.statusPrivacy.userJid.join() === people.join());
  assert.deepEqual((await done(instance, 'GET', '/account/privacy')).status_privacy, { type: 'whitelist', people });

  for (const [name, wrong] of [
    ['last', { last: 'everybody' }],
    ['profile', { profile: 'contact_blacklist' }],
    ['color', { color: 'blue' }],
    ['settings', {}],
  ]) {
    const { status, body } = await instance.call('PATCH', '/account/privacy', wrong);
    assert.deepEqual([status, Object.keys(body.error.details)], [422, [name]]);
  }
});

story('whoever is blocked is so on every device, and reaches nobody', async (cast) => {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const [instance, sister, baileys] = [await cast.instance(), await cast.companion(ana), await cast.companion(bob)];
  await instance.pair(ana);
  const first = await baileys.send(ana.jid, 'hello');
  await instance.platform.messageWith(first);
  await sister.messageWith(first);
  const updates = [];
  sister.sock.ev.on('blocklist.update', (update) => updates.push(update));

  await done(instance, 'POST', '/block', { to: bob.number, blocked: true });
  await until('Baileys hears of it', async () => updates, (all) => all.some(({ type }) => type === 'add'));
  assert.deepEqual(updates.at(-1).blocklist, [bob.lid]);
  assert.deepEqual(await sister.sock.fetchBlocklist(), [bob.lid]);
  const list = await done(instance, 'GET', '/blocklist');
  assert.deepEqual(list.blocklist, [{ jid: bob.jid, lid: bob.lid, phone: bob.number }]);
  assert.equal((await done(instance, 'GET', `/contacts/${bob.number}`)).blocked, true);
  const lost = await baileys.send(ana.jid, 'lost');
  await baileys.status(lost, 2);

  await sister.sock.updateBlockStatus(bob.jid, 'unblock');
  await instance.event('contact.blocked', ({ blocked, phone }) => !blocked && phone === bob.number);
  const heard = await baileys.send(ana.jid, 'heard');
  await instance.platform.messageWith(heard);
  await sister.messageWith(heard);
  const { body } = await instance.get(`/messages/${lost}`);
  assert.equal(body.error.code, 'MESSAGE_NOT_FOUND');

  await sister.sock.updateBlockStatus(bob.jid, 'block');
  await instance.event('contact.blocked', ({ blocked }) => blocked);
  await until('the list', () => done(instance, 'GET', '/blocklist'), ({ total }) => total === 1);
  await cast.sandbox.post(`${ana.path}/block`, { to: bob.number, blocked: false });
  await until('the list', () => done(instance, 'GET', '/blocklist'), ({ total }) => total === 0);
});

story('presence is seen on both sides, also after a lost connection', async (cast) => {
  const { ana, bob, instance, baileys } = await two(cast);
  await done(instance, 'POST', '/presence', { state: 'available' });
  const { sock } = baileys;
  await sock.presenceSubscribe(ana.jid);
  await baileys.presences.find('Ana online', ({ chat, state }) => chat === ana.jid && state === 'available');
  await done(instance, 'POST', '/presence', { state: 'unavailable' });
  await baileys.presences.find('Ana away', ({ chat, state }) => chat === ana.jid && state === 'unavailable');
  await done(instance, 'POST', '/presence', { state: 'available' });

  await done(instance, 'POST', `/chats/${bob.number}/presence`);
  await instance.event('presence.updated', ({ phone, state }) => phone === bob.number && state === 'available');
  await sock.sendPresenceUpdate('unavailable');
  const gone = await instance.event('presence.updated', ({ state }) => state === 'unavailable');
  assert.ok(Math.abs(Date.parse(gone.last_seen) - Date.now()) < 60_000, gone.last_seen);
  const kept = await done(instance, 'GET', `/chats/${bob.number}/presence`);
  assert.deepEqual([kept.jid, kept.state, kept.last_seen], [bob.jid, 'unavailable', gone.last_seen]);

  await sock.sendPresenceUpdate('composing', ana.jid);
  await instance.event('presence.updated', ({ phone, state }) => phone === bob.number && state === 'typing');
  await sock.sendPresenceUpdate('paused', ana.jid);
  await instance.event('presence.updated', ({ phone, state }) => phone === bob.number && state === 'paused');
  await sock.sendPresenceUpdate('recording', ana.jid);
  await instance.event('presence.updated', ({ phone, state }) => phone === bob.number && state === 'recording');

  const before = (await instance.get('/events?types=presence.updated')).body.events.length;
  await cast.sandbox.drop(instance.jid);
  await instance.platform.connection('connected', instance.platform.posts.items.length);
  await sock.sendPresenceUpdate('available');
  await until(
    'Bob is back',
    async () => (await instance.get('/events?types=presence.updated')).body.events.slice(before),
    (events) => events.some(({ data }) => data.state === 'available'),
  );
  await done(instance, 'DELETE', `/chats/${bob.number}/presence`);
  assert.equal((await instance.get(`/chats/${bob.number}/presence`)).status, 404);
});

story('businesses say what they are and what they sell', async (cast) => {
  const { ana, bob, instance, baileys } = await two(cast);
  assert.equal((await instance.get(`/business/${bob.number}`)).body.error.code, 'BUSINESS_NOT_FOUND');
  const product = { id: '11', name: 'Bolo de cenoura', price: 35000, currency: 'BRL', images: ['https://example.com/b.jpg'] };
  const business = {
    name: 'Padaria do Bob',
    address: 'Rua das Flores, 1',
    description: 'Pães e bolos',
    websites: ['https://example.com'],
    email: 'bob@example.com',
    categories: ['Padaria'],
    open_on: ['mon', 'tue'],
    products: [product],
  };
  for (const phone of [ana, bob]) await cast.sandbox.call('PUT', `${phone.path}/business`, business);
  const seen = await done(instance, 'GET', `/business/${bob.number}`);
  assert.deepEqual(
    [seen.verified_name, seen.address, seen.description, seen.websites, seen.categories[0].name, seen.hours.length],
    ['Padaria do Bob', 'Rua das Flores, 1', 'Pães e bolos', ['https://example.com'], 'Padaria', 2],
  );
  const [sold] = seen.catalogue.products;
  assert.deepEqual([sold.id, sold.name, sold.price, sold.images], ['11', 'Bolo de cenoura', 35000, product.images]);
  assert.equal((await done(instance, 'GET', `/contacts/${bob.number}`)).is_business, true);

  const profile = await baileys.sock.getBusinessProfile(ana.jid);
  assert.deepEqual([profile.wid, profile.address, profile.category], [ana.jid, 'Rua das Flores, 1', 'Padaria']);
  const { products } = await baileys.sock.getCatalog({ jid: ana.jid });
  assert.deepEqual([products[0].name, products[0].price], ['Bolo de cenoura', 35000]);
});

story('labels and a group picture are set on one side and seen on the other', async (cast) => {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const [instance, baileys] = [await cast.instance(), await cast.companion(ana)];
  await instance.pair(ana);
  const { sock } = baileys;
  const id = await bob.send(ana.number, 'an order');
  await instance.platform.messageWith(id);
  await baileys.messageWith(id);
  const associations = [];
  sock.ev.on('labels.association', (change) => associations.push(change));

  const { label } = await done(instance, 'POST', '/labels', { name: 'Pedidos', color: 4 }, 201);
  await baileys.state('labels.edit', ({ id: edited, name, color }) => edited === label.id && name === 'Pedidos' && color === 4);
  await done(instance, 'POST', `/labels/${label.id}/assign`, { to: bob.number, value: true });
  await done(instance, 'POST', `/labels/${label.id}/assign`, { to: bob.number, message_id: id, value: true });
  await until('associations', async () => associations, (all) => all.length >= 2);
  assert.deepEqual(associations.map(({ type, association }) => [type, association.type]), [['add', 'label_jid'], ['add', 'label_message']]);

  await sock.addLabel(undefined, { id: '40', name: 'Pagos', color: 7, deleted: false, predefinedId: undefined });
  await instance.event('label.updated', ({ id: edited, name }) => edited === '40' && name === 'Pagos');
  await sock.addChatLabel(bob.jid, '40');
  await instance.event('chat.updated', ({ labels }) => labels.includes('40'));
  await sock.addMessageLabel(bob.jid, id, '40');
  await instance.event('message.labeled', ({ labels }) => labels.includes('40'));
  const whole = await done(instance, 'GET', '/labels/40');
  assert.deepEqual([whole.name, whole.chats, whole.messages], ['Pagos', [bob.jid], [{ chat: bob.jid, message_id: id }]]);
  await sock.removeChatLabel(bob.jid, '40');
  await until('no chat', () => done(instance, 'GET', '/labels/40'), ({ chats }) => chats.length === 0);
  await done(instance, 'PATCH', '/labels/40', { name: 'Quitados' });
  await baileys.state('labels.edit', ({ id: edited, name }) => edited === '40' && name === 'Quitados');
  await done(instance, 'DELETE', '/labels/40');
  await baileys.state('labels.edit', ({ id: edited, deleted }) => edited === '40' && deleted);
  await ana.record(['label_edit', '40'], (value) => value?.labelEditAction.deleted);
  assert.deepEqual((await done(instance, 'GET', '/labels')).labels, [label]);
  assert.equal((await instance.call('PATCH', '/labels/40', { color: 1 })).body.error.code, 'LABEL_NOT_FOUND');
  await done(instance, 'PATCH', `/chats/${bob.jid}`, { locked: true });
  await ana.record(['lock', bob.jid], (value) => value?.lockChatAction.locked);

  const { group } = await done(instance, 'POST', '/groups', { subject: 'Clube', participants: [bob.number] }, 201);
  const set = await done(instance, 'PUT', `/groups/${group.jid}/picture`, { media_base64: (await image(300, 300)).toString('base64') });
  await instance.event('group.updated', ({ action, picture_id: picture }) => action === 'picture' && picture === set.picture_id);
  assert.equal((await fetched(cast, await sock.profilePictureUrl(group.jid, 'image'))).width, 300);
  const { url } = await done(instance, 'GET', `/profile-picture?to=${group.jid}`);
  assert.equal((await fetched(cast, url)).width, 300);
  await sock.removeProfilePicture(group.jid);
  await instance.event('group.updated', ({ action }) => action === 'picture_removed');
});
