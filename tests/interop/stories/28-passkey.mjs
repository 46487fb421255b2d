// Linking an account that wants a passkey, over sockets and HTTP: the instance, and an authenticator in software.

import assert from 'node:assert/strict';

import { story } from '../lib/story.mjs';

const linked = (instance) => instance.link('connected', ({ status }) => status === 'connected');
const stands = (instance, status) => instance.link(status, ({ passkey }) => passkey.status === status);
const want = (phone) => phone.sandbox.call('PUT', `${phone.path}/passkey`, { wanted: true });
const sign = (phone, options, more = {}) => phone.sandbox.post(`${phone.path}/passkey`, { ...options, ...more });

story('a phone scans, a passkey signs, and messages go both ways', async (cast) => {
  const [ana, bob] = [await cast.phone('Ana'), await cast.phone('Bob')];
  const bruno = await cast.companion(bob);
  const instance = await cast.instance();
  await want(ana);
  await ana.scan(await instance.qr());
  await stands(instance, 'awaiting_assertion');
  assert.equal((await instance.get('/qr')).status, 404);
  const { body } = await instance.get('/passkey');
  assert.equal(body.options.rpId, 'whatsapp.com');
  assert.deepEqual(await instance.event('instance.passkey', () => true), (({ success, ...rest }) => rest)(body));
  const handed = await instance.post('/passkey', await sign(ana, body.options));
  assert.equal(handed.status, 200);
  await linked(instance);
  assert.equal((await instance.get('/passkey')).body.status, 'none');
  const id = await instance.send(bob.number, 'linked with a passkey');
  assert.equal((await bruno.messageWith(id)).text, 'linked with a passkey');
});

story('what is signed wrongly is refused; what is signed rightly for the next challenge links', async (cast) => {
  const ana = await cast.phone('Ana');
  const instance = await cast.instance();
  await want(ana);
  const code = await instance.linkCode(ana);
  await ana.typeCode(code);
  await stands(instance, 'awaiting_assertion');
  const first = (await instance.get('/passkey')).body.options;
  const { status, body } = await instance.post('/passkey', await sign(ana, first, { defect: 'signature' }));
  assert.deepEqual([status, body.error.code, body.error.details], [422, 'PASSKEY_REFUSED', { whatsapp_code: 401 }]);
  const stale = await instance.post('/passkey', await sign(ana, first));
  assert.deepEqual([stale.status, Object.keys(stale.body.error.details)], [422, ['response.clientDataJSON']]);
  const early = await instance.post('/passkey/confirm', {});
  assert.deepEqual([early.status, early.body.error.details], [409, { status: 'awaiting_assertion' }]);
  const { options } = (await instance.get('/passkey')).body;
  assert.equal((await instance.post('/passkey', await sign(ana, options))).status, 200);
  await linked(instance);
});

story('given up or declined, another QR code links', async (cast) => {
  const ana = await cast.phone('Ana');
  const instance = await cast.instance();
  await want(ana);
  await ana.scan(await instance.qr());
  await stands(instance, 'awaiting_assertion');
  assert.equal((await instance.call('DELETE', '/passkey')).status, 200);
  await ana.scan(await instance.qr());
  await stands(instance, 'awaiting_assertion');
  await ana.sandbox.call('DELETE', `${ana.path}/passkey`);
  await stands(instance, 'failed');
  await ana.scan(await instance.qr());
  await stands(instance, 'awaiting_assertion');
  const { options } = (await instance.get('/passkey')).body;
  await instance.post('/passkey', await sign(ana, options));
  await linked(instance);
  assert.equal((await ana.companions()).length, 1);
});
