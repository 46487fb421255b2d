// A server that is broken, or another than it should be: the instance refuses it, says why, and lives on.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { proto } from 'baileys';
import { WebSocketServer } from 'ws';

import { Instance } from '../lib/instance.mjs';
import { story } from '../lib/story.mjs';
import { Platform } from '../lib/webhooks.mjs';

const ROOT_KEY = '11'.repeat(32);

/** A frame: three bytes of length, and content. */
const frame = (content, length = content.length) =>
  Buffer.concat([Buffer.from([length >> 16, (length >> 8) & 0xff, length & 0xff]), content]);

const serverHello = (hello) => frame(Buffer.from(proto.HandshakeMessage.encode({ serverHello: hello }).finish()));

/** What each server does once the client has spoken, and how many refusals are waited for. */
const SERVERS = {
  'a frame of random bytes': { answer: (socket) => socket.send(frame(randomBytes(256))) },
  'an empty frame': { answer: (socket) => socket.send(frame(Buffer.alloc(0))) },
  'a frame that ends too early': {
    answer: (socket) => {
      socket.send(frame(randomBytes(64), 4096));
      socket.close();
    },
  },
  'a frame of sixteen megabytes, announced': {
    answer: (socket) => {
      socket.send(frame(Buffer.alloc(0), 0xff_ff_ff));
      socket.close();
    },
  },
  'a flood without an end': {
    answer: (socket) => {
      const more = () => socket.readyState === socket.OPEN && socket.send(frame(randomBytes(60_000), 0xff_ff_ff), more);
      more();
    },
  },
  // No answer as far as the protocol goes: this takes the 20 s that a handshake may take.
  'a text message': { answer: (socket) => socket.send('hello'), refusals: 1 },
  'a hello without keys': { answer: (socket) => socket.send(serverHello({})) },
  'a hello with keys of the wrong length': {
    answer: (socket) =>
      socket.send(serverHello({ ephemeral: randomBytes(31), static: randomBytes(48), payload: randomBytes(200) })),
  },
  'a hello with the point of order one': {
    answer: (socket) =>
      socket.send(serverHello({ ephemeral: Buffer.alloc(32), static: randomBytes(48), payload: randomBytes(200) })),
  },
  'a hello that nobody can decrypt': {
    answer: (socket) =>
      socket.send(serverHello({ ephemeral: randomBytes(32), static: randomBytes(48), payload: randomBytes(200) })),
  },
  'a close at once': { answer: (socket) => socket.close() },
  'a cut at once': { answer: (socket) => socket.terminate() },
};

const CAUSE = /WARN.*(handshake|cannot be reached|connection ended)/;

for (const [what, { answer, refusals = 2 }] of Object.entries(SERVERS)) {
  test(`${what} instead of a handshake is refused, with a cause`, { timeout: 60_000 }, async (t) => {
    const attempts = [];
    const server = await listen(createServer());
    new WebSocketServer({ server }).on('connection', (socket) => {
      socket.on('error', () => {});
      socket.once('message', () => {
        attempts.push(Date.now());
        answer(socket);
      });
    });
    await refuses(t, server, `ws://127.0.0.1:${server.address().port}/ws/chat`, refusals);
    assert.ok(attempts.length >= refusals, `${attempts.length} attempts`);
  });
}

const LISTENERS = {
  'a web page instead of a WebSocket': () => createServer((_, response) => response.end('<html>captive portal</html>')),
  'an error instead of a WebSocket': () =>
    createServer().on('upgrade', (_, socket) => socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n')),
  'no HTTP at all': () =>
    createTcpServer((socket) => {
      socket.on('error', () => {});
      socket.end('220 mail.example.com ESMTP\r\n');
    }),
  'an answer whose head has no end': () =>
    createTcpServer((socket) => {
      socket.on('error', () => {});
      const more = () => socket.writable && socket.write('x'.repeat(10_000), more);
      socket.write('HTTP/1.1 101 Switching Protocols\r\n', more);
    }),
};

for (const [what, make] of Object.entries(LISTENERS)) {
  test(`${what} is refused, with a cause`, { timeout: 60_000 }, async (t) => {
    const server = await listen(make());
    await refuses(t, server, `ws://127.0.0.1:${server.address().port}/ws/chat`);
  });
}

story('a server whose certificate another root signed is refused, and the right one is taken afterwards', async (cast) => {
  const ines = await cast.phone('Ines');
  const platform = await Platform.start();
  cast.platforms.push(platform);
  const folder = cast.folder('instance');
  const { url, tlsRootFile } = cast.sandbox;
  const other = new Instance({ server: { url, tlsRootFile, rootKey: ROOT_KEY }, platform, folder });
  cast.instances.push(other);
  await other.start();
  const line = await other.program.log.find('a refusal', (text) => /WARN.*handshake/.test(text));
  assert.match(line, /certificate|root|sign/i);
  assert.notEqual((await other.status()).status, 'connected');
  assert.deepEqual(platform.posts.all(({ kind }) => kind === 'qr'), []);
  await other.stop();

  const instance = new Instance({ server: cast.sandbox, platform, folder });
  cast.instances.push(instance);
  await instance.start();
  await instance.pair(ines);
});

story('a server whose TLS certificate nobody knows is refused', async (cast) => {
  const platform = await Platform.start();
  cast.platforms.push(platform);
  const { url, rootKey } = cast.sandbox;
  const instance = new Instance({ server: { url, rootKey }, platform, folder: cast.folder('instance') });
  cast.instances.push(instance);
  await instance.start();
  const line = await instance.program.log.find('a refusal', (text) => /WARN/.test(text));
  assert.match(line, /certificate|TLS|issuer/i);
  assert.notEqual((await instance.status()).status, 'connected');
  await instance.stop();
});

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** The instance says why, each time, is healthy all the while, and ends in peace. */
async function refuses(t, server, url, refusals = 2) {
  const folder = await mkdtemp(join(tmpdir(), 'wazap-interop-'));
  const platform = await Platform.start();
  const instance = new Instance({ server: { url, rootKey: ROOT_KEY }, platform, folder });
  t.after(async () => {
    await instance.program?.end('SIGKILL');
    await platform.stop();
    server.closeAllConnections?.();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  await instance.start();
  const lines = await instance.program.log.count('refusals', refusals, (line) => CAUSE.test(line));
  for (const line of lines) t.diagnostic(line);
  const health = await fetch(`${instance.url}/health`);
  assert.equal(health.status, 200);
  const { status } = await instance.status();
  assert.ok(['pending', 'offline'].includes(status), status);
  const errors = instance.program.log.all((line) => /\bERROR\b|panicked/.test(line));
  assert.deepEqual(errors, []);
  await instance.stop();
}
