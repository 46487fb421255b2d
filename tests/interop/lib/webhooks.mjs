// The platform: takes what an instance posts.

import { createServer } from 'node:http';
import { once } from 'node:events';

import { Journal } from './journal.mjs';

export class Platform {
  /** `{kind, body, id}`, one per delivery: `kind` is the last part of the path, `id` the delivery's own. */
  posts = new Journal('webhooks');
  #deliveries = new Set();

  static async start() {
    const platform = new Platform();
    platform.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      platform.#take(request, Buffer.concat(chunks).toString());
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"success":true,"message":"Webhook received"}');
    });
    platform.server.listen(0, '127.0.0.1');
    await once(platform.server, 'listening');
    platform.url = `http://127.0.0.1:${platform.server.address().port}`;
    return platform;
  }

  /** Delivery is at least once, as the contract says: what comes again under the same id is the same post. */
  #take(request, text) {
    const id = request.headers['x-webhook-id'];
    if (this.#deliveries.has(id)) return;
    this.#deliveries.add(id);
    const kind = new URL(request.url, this.url).pathname.split('/').at(-1);
    this.posts.push({ kind, body: JSON.parse(text), id });
  }

  /** All posts of messages with this text, or of all messages. */
  incoming = (text) => this.posts.all((post) => isIncoming(post, text)).map((post) => post.body);

  /** The post of the first message that fits. */
  async message(what, fits, patience) {
    const post = await this.posts.find(what, ({ kind, body }) => kind === 'incoming' && fits(body), patience);
    return post.body;
  }

  messageWith = (id) => this.message(`message ${id}`, (body) => body.key.id === id);

  /** Waits until the statuses of a message are these; answers with the whole series so far. */
  async statuses(id, last) {
    const of = ({ kind, body }) => kind === 'status' && body.key.id === id;
    await this.posts.find(`status ${last} of ${id}`, (post) => of(post) && post.body.status === last);
    return this.posts.all(of).map((post) => post.body.status);
  }

  /** The first post about the connection with this status, after that many posts. */
  async connection(status, after = 0) {
    const fits = (post) => post.kind === 'connection' && post.body.status === status;
    const post = await this.posts.find(`connection ${status}`, (post) => fits(post) && this.posts.items.indexOf(post) >= after);
    return post.body;
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

const isIncoming = ({ kind, body }, text) => kind === 'incoming' && (text === undefined || textOf(body) === text);

/** The text of an incoming post. */
export const textOf = (body) => body.message.conversation ?? body.message.extendedTextMessage?.text;
