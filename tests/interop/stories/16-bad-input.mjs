// What is wrong is refused for what it is, at exactly its limit, and costs little: files that go out, and files that a
// hostile peer announces.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';

import { proto } from 'baileys';

import { mp4, opus, pdf, png, webp } from '../lib/files.mjs';
import { story } from '../lib/story.mjs';

const MIB = 1 << 20;

async function two(cast) {
  const [ines, bob] = [await cast.phone('Ines'), await cast.phone('Bob')];
  const instance = await cast.instance(['--media-allow-private']);
  await instance.pair(ines);
  return { ines, bob, instance };
}

function formOf(fields, bytes, type, name) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) form.set(field, value);
  form.set('file', new Blob([bytes], { type }), name);
  return form;
}

/** Highest memory of the process so far, in MiB. */
async function peak(instance) {
  const status = await readFile(`/proc/${instance.program.child.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)[1]) / 1024;
}

const box = (kind, length) => {
  const free = Buffer.alloc(length, 9);
  free.writeUInt32BE(length);
  free.write(kind, 4);
  return free;
};

const filled = (head, size) => Buffer.concat([head, Buffer.alloc(size - head.length, 7)]);

/** The largest file of each kind that passes, `more` bytes beyond it. */
const LARGEST = {
  image: [16 * MIB, (size) => png({ size })],
  sticker: [16 * MIB, (size) => filled(webp(), size)],
  audio: [16 * MIB, (size) => filled(opus(), size)],
  video: [64 * MIB, (size) => Buffer.concat([mp4(), box('free', size - mp4().length)])],
  document: [100 * MIB, (size) => filled(pdf(), size)],
};

for (const [media_type, [limit, make]] of Object.entries(LARGEST)) {
  story(`${media_type}: exactly ${limit / MIB} MiB pass, by address, unannounced and by form, and a byte more does not`, async (cast) => {
    const { bob, instance } = await two(cast);
    const [most, more] = [make(limit), make(limit + 1)];
    const server = createServer((request, response) => {
      const bytes = request.url.includes('more') ? more : most;
      const announced = request.url.includes('announced') ? { 'content-length': bytes.length } : {};
      response.writeHead(200, { 'content-type': 'application/octet-stream', ...announced });
      response.end(bytes);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${server.address().port}`;
    try {
      const fields = { recipient: bob.number, media_type };
      const ways = (name) => [
        { ...fields, media_url: `${url}/announced-${name}` },
        { ...fields, media_url: `${url}/chunked-${name}` },
        formOf(fields, name === 'more' ? more : most, '', 'file'),
      ];
      const hash = createHash('sha256').update(most).digest('hex');
      for (const body of ways('most')) {
        const { media } = await bob.message(await instance.sends('/send-media', body));
        assert.deepEqual([media.size, media.sha256], [most.length, hash]);
      }
      const sizes = [more.length, null, more.length];
      for (const [n, body] of ways('more').entries()) {
        const wanted = new RegExp(`422 .*"MEDIA_TOO_LARGE".*"size":${sizes[n]},"limit":${limit}`);
        await assert.rejects(instance.sends('/send-media', body), wanted);
      }
      assert.ok((await peak(instance)) < 100, `${await peak(instance)} MiB for files of ${limit / MIB}`);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
}

/** The header of a PNG of this size, and nothing behind it that could be one. */
function header(side) {
  const picture = png({ side: 8 });
  picture.writeUInt32BE(side, 16);
  picture.writeUInt32BE(side, 20);
  return picture;
}

story('a file that is no picture, no film or no sound is refused, or sent without what it does not tell', async (cast) => {
  const { bob, instance } = await two(cast);
  /** By form, since a text of nothing is no file: `{status, body}`. */
  const send = async (media_type, bytes, more = {}) => {
    const form = formOf({ recipient: bob.number, media_type, ...more }, bytes, '', 'blob');
    try {
      return { status: 200, body: { message_id: await instance.sends('/send-media', form) } };
    } catch ({ message }) {
      const [, status, body] = /: (\d+) (.*)$/.exec(message);
      return { status: Number(status), body: JSON.parse(body) };
    }
  };
  const broken = Buffer.concat([webp().subarray(0, 12), Buffer.alloc(100, 'x')]);
  const nothing = 'application/octet-stream';
  for (const [media_type, bytes, detected] of [
    ['sticker', broken, 'image/webp'],
    ['sticker', png(), 'image/png'],
    ['sticker', Buffer.alloc(0), nothing],
    ['image', Buffer.alloc(0), nothing],
    ['video', Buffer.alloc(0), nothing],
    ['audio', Buffer.alloc(0), nothing],
    ['video', png(), 'image/png'],
    ['audio', mp4(), 'video/mp4'],
    ['image', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), 'text/plain'],
    ['audio', Buffer.from('OggX'), 'text/plain'],
  ]) {
    const { status, body } = await send(media_type, bytes);
    assert.deepEqual([status, body.error?.code], [422, 'UNSUPPORTED_MEDIA_FORMAT'], JSON.stringify(body));
    assert.deepEqual(body.error.details, { media_type, detected });
  }
  // What begins as its kind and then does not go on is its sender's: it is sent, without facts.
  const gif = Buffer.concat([Buffer.from('GIF89a'), Buffer.from([255, 255, 255, 255, 0, 0, 0]), Buffer.alloc(1000, 0x2c)]);
  const ogg = Buffer.concat([opus().subarray(0, 4), opus().subarray(4)]);
  // The last page claims a time beyond all.
  ogg.fill(0x7f, ogg.lastIndexOf('OggS') + 6, ogg.lastIndexOf('OggS') + 14);
  for (const [media_type, bytes] of [
    ['image', header(100_000)],
    ['image', header(0xffffffff)],
    ['image', gif],
    ['video', mp4().subarray(0, 100)],
    ['audio', ogg],
    ['document', Buffer.alloc(0)],
  ]) {
    const { status, body } = await send(media_type, bytes);
    assert.equal(status, 200, JSON.stringify(body));
    const { media } = await bob.message(body.message_id);
    assert.equal(media.sha256, createHash('sha256').update(bytes).digest('hex'));
  }
  assert.ok((await peak(instance)) < 100, 'no room is made for what a header claims');
  // Names are cleaned, not believed.
  const { body } = await send('document', pdf(), { filename: '..\\../etc/pass\u0000wd\r\n.pdf' });
  const { message } = await bob.message(body.message_id);
  const name = message.documentMessage.fileName;
  assert.match(name, /\.pdf$/);
  assert.doesNotMatch(name, /[/\\\u0000-\u001f]/);
});

story('a file that is not what its message says is never handed out', async (cast) => {
  const { ines, bob, instance } = await two(cast);
  const bytes = png({ side: 60 });
  const media = { type: 'image', base64: bytes.toString('base64'), mimetype: 'image/png' };
  const { id } = await bob.sandbox.post(`${bob.path}/send`, { to: ines.number, media });
  await instance.event('message.received', ({ whatsapp_message_id }) => whatsapp_message_id === id);
  assert.ok((await instance.file(id)).bytes.equals(bytes));
  const { message } = await ines.message(id);
  const other = Buffer.alloc(32, 5).toString('base64');
  for (const [what, lie, code] of [
    ['nothing', {}],
    ['length unsaid', { fileLength: null }],
    ['hash of the blob', { fileEncSha256: other }, 'MEDIA_GONE'],
    ['hash of the file', { fileSha256: other }, 'MEDIA_GONE'],
    ['key', { mediaKey: other }, 'MEDIA_GONE'],
    ['a byte less', { fileLength: bytes.length - 1 }, 'MEDIA_GONE'],
    ['a block more', { fileLength: bytes.length + 16 }, 'MEDIA_GONE'],
    ['nothing at all', { fileLength: 0 }, 'MEDIA_GONE'],
    ['gigabytes', { fileLength: 2 ** 52 }, 'MEDIA_GONE'],
    ['half a hash', { fileEncSha256: 'AAAA' }, 'MEDIA_GONE'],
    ['another server', { directPath: 'https://example.com/a' }, 'MEDIA_GONE'],
    ['no path', { directPath: '' }, 'MEDIA_GONE'],
    ['a path with a line', { directPath: '/v/a\r\nHost: b' }, 'MEDIA_GONE'],
    ['a path of dots', { directPath: '/../../admin/phones' }, 'MEDIA_GONE'],
    ['half a key', { mediaKey: 'AAAA' }, 'MESSAGE_NOT_FOUND'],
    ['no key', { mediaKey: null }, 'MESSAGE_NOT_FOUND'],
  ]) {
    const raw = proto.Message.fromObject({ imageMessage: { ...message.imageMessage, ...lie } });
    const sent = await bob.sandbox.post(`${bob.path}/send`, { to: ines.number, raw: Buffer.from(proto.Message.encode(raw).finish()).toString('base64') });
    await instance.event('message.received', ({ whatsapp_message_id }) => whatsapp_message_id === sent.id);
    for (const headers of [{}, { range: 'bytes=0-9' }]) {
      const file = await instance.file(sent.id, headers);
      if (code) {
        assert.equal(file.status, 404, what);
        const { error } = JSON.parse(file.bytes);
        assert.equal(error.code, code, what);
      } else {
        assert.ok(file.bytes.equals(headers.range ? bytes.subarray(0, 10) : bytes), what);
      }
    }
  }
  // The good ones are kept, and nothing else.
  const kept = await readdir(join(instance.folder, 'media'));
  assert.equal(kept.filter((name) => name.endsWith('.enc')).length, 3);
  assert.deepEqual(await readdir(join(instance.folder, 'media', 'under-way')), []);
  assert.equal((await instance.status()).status, 'connected');
});
