// A user's own web server: takes what an instance posts to its webhook, and verifies each post in both ways that are
// documented for receivers.

import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { Journal } from './journal.mjs';

export class Receiver {
  /** `{event, data, id, attempt, status, at}` of every post, refused ones too. */
  posts = new Journal('posts to the user');
  #port = 0;

  /** `answer(post)` is the status of the answer. */
  constructor(secret, answer = () => 200) {
    Object.assign(this, { secret, answer });
  }

  /** Listens, the second time where it listened the first time. */
  async start() {
    this.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      let status = 599;
      try {
        status = this.#take(request, Buffer.concat(chunks));
      } catch (error) {
        this.posts.push({ event: 'broken', error: `${error}` });
      }
      response.writeHead(status);
      response.end();
    });
    this.server.listen(this.#port, '127.0.0.1');
    await once(this.server, 'listening');
    this.#port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.#port}/webhook`;
    return this;
  }

  #take(request, raw) {
    const { headers } = request;
    const said = headers['x-webhook-signature'];
    const body = JSON.parse(raw);
    for (const signed of [raw, JSON.stringify(body)]) {
      const expected = createHmac('sha256', this.secret).update(signed).digest('hex');
      assert.ok(timingSafeEqual(Buffer.from(said), Buffer.from(expected)), `signature of ${signed}`);
    }
    assert.deepEqual(Object.keys(body), ['event', 'instance_uuid', 'timestamp', 'data']);
    assert.match(body.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/);
    assert.equal(headers['x-webhook-event'], body.event);
    assert.equal(headers['x-instance-uuid'], body.instance_uuid);
    assert.equal(headers['user-agent'], 'Zapini-Webhook/1.0');
    assert.equal(headers['content-type'], 'application/json');
    const post = {
      ...body,
      raw: raw.toString(),
      id: headers['x-webhook-id'],
      attempt: Number(headers['x-webhook-attempt']),
      at: Date.now(),
    };
    post.status = this.answer(post);
    this.posts.push(post);
    return post.status;
  }

  /** Every post that was taken, the first time it was. */
  taken(event) {
    const seen = new Set();
    return this.posts.all((post) => {
      if (post.status !== 200 || seen.has(post.id) || (event && post.event !== event)) return false;
      seen.add(post.id);
      return true;
    });
  }

  /** The first post that was taken and fits. */
  find = (what, event, fits, patience) =>
    this.posts.find(what, (post) => post.status === 200 && post.event === event && fits(post.data), patience);

  messageWith = (id, patience) =>
    this.find(`message ${id}`, 'message.received', (data) => data.whatsapp_message_id === id, patience);

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
