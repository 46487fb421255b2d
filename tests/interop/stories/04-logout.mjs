// Links end, and begin again.

import assert from 'node:assert/strict';

import { newest } from '../lib/instance.mjs';
import { story } from '../lib/story.mjs';
import { textOf } from '../lib/webhooks.mjs';

async function linked(cast) {
  const ines = await cast.phone('Ines');
  const instance = await cast.instance();
  await instance.pair(ines);
  return { ines, instance, platform: instance.platform };
}

/** What the platform was told of the connection since that post. */
const connections = (platform, since) =>
  platform.posts.items
    .slice(since)
    .filter((post) => post.kind === 'connection')
    .map(({ body }) => [body.status, body.reason]);

/** They can talk: proves a link more than a status does. */
async function talks(cast, instance, ines) {
  const other = await cast.phone();
  const id = await instance.send(other.number, 'are you there?');
  assert.equal((await other.message(id)).text, 'are you there?');
  assert.equal(textOf(await instance.platform.messageWith(await other.send(ines.number, 'yes'))), 'yes');
}

story('logged out from the phone, the instance shows a new code, and scanning it links again', async (cast) => {
  const { ines, instance, platform } = await linked(cast);
  await talks(cast, instance, ines);
  const since = platform.posts.items.length;
  await ines.unlink((await newest(ines)).device);
  await platform.connection('qr_ready', since);
  assert.deepEqual(connections(platform, since), [
    ['disconnected', 'logged_out'],
    ['pending', null],
    ['qr_ready', null],
  ]);
  const { status, phone } = await instance.status();
  assert.deepEqual({ status, phone }, { status: 'qr_ready', phone: null });
  const refused = await instance.post('/send-message', { recipient: ines.number, message: 'no' });
  assert.deepEqual([refused.status, refused.body.error.code], [503, 'INSTANCE_NOT_CONNECTED']);
  assert.deepEqual(await ines.companions(), []);

  await instance.pair(ines);
  assert.equal((await ines.companions()).length, 1);
  await talks(cast, instance, ines);
});

story('another phone may scan the next code', async (cast) => {
  const { ines, instance, platform } = await linked(cast);
  const since = platform.posts.items.length;
  await ines.unlink((await newest(ines)).device);
  await platform.connection('qr_ready', since);
  const carla = await cast.phone('Carla');
  const connected = await instance.pair(carla);
  assert.equal(connected.phone_number, carla.number);
  assert.equal((await instance.status()).phone, carla.number);
  await talks(cast, instance, carla);
});

story('a logout by request unlinks and stays so until it is asked to connect', async (cast) => {
  const { ines, instance, platform } = await linked(cast);
  let since = platform.posts.items.length;
  const { status, body } = await instance.post('/disconnect', { logout: true });
  assert.equal(status, 200);
  assert.deepEqual(body, { success: true, message: 'Instance disconnected', status: 'disconnected' });
  assert.equal((await platform.connection('disconnected', since)).reason, 'requested');
  assert.deepEqual(await ines.companions(), []);

  // Also over a restart.
  await instance.stop();
  await instance.start();
  assert.equal((await instance.status()).status, 'disconnected');

  since = platform.posts.items.length;
  assert.equal((await instance.post('/connect')).status, 200);
  await platform.connection('qr_ready', since);
  await instance.pair(ines);
  await talks(cast, instance, ines);
});

story('a stop by request keeps the link, over a restart too, and connecting needs no code', async (cast) => {
  const { ines, instance, platform } = await linked(cast);
  const bob = await cast.phone('Bob');
  let since = platform.posts.items.length;
  assert.equal((await instance.post('/disconnect', {})).status, 200);
  assert.equal((await platform.connection('disconnected', since)).reason, 'requested');

  const id = await bob.send(ines.number, 'while it was stopped');
  await instance.stop();
  await instance.start();
  const stopped = await instance.status();
  assert.deepEqual([stopped.status, stopped.phone], ['disconnected', ines.number]);

  since = platform.posts.items.length;
  assert.equal((await instance.post('/connect')).status, 200);
  await platform.connection('connected', since);
  assert.equal(textOf(await platform.messageWith(id)), 'while it was stopped');
  assert.deepEqual(platform.posts.items.slice(since).filter(({ kind }) => kind === 'qr'), []);
});

story('each code is posted with its picture, and a scanned one disappears', async (cast) => {
  const ines = await cast.phone('Ines');
  const instance = await cast.instance();
  const { body } = await instance.platform.posts.find('a code', ({ kind }) => kind === 'qr');
  assert.match(body.qr, /^(https:\/\/wa\.me\/settings\/linked_devices#)?2@[^,]+(,[A-Za-z0-9+/]{43}=){3},[0-9a-f]$/);
  assert.match(body.qr_image, /^data:image\/png;base64,iVBORw0KGgo/);
  const shown = await instance.get('/qr');
  assert.deepEqual([shown.status, shown.body.qr_text, shown.body.qr], [200, body.qr, body.qr_image]);
  await instance.pair(ines);
  const gone = await instance.get('/qr');
  assert.deepEqual([gone.status, gone.body.error.code], [404, 'QR_NOT_AVAILABLE']);
});
