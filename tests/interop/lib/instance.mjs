// `wazap run` against a sandbox, and its HTTP API.

import { PATIENCE } from './journal.mjs';
import { Program } from './program.mjs';

const TOKEN = `sk_${'interop'.padEnd(40, '0')}`;

export class Instance {
  /** `folder` is its data folder; `server` what a sandbox says of itself: `{url, rootKey, tlsRootFile}`. */
  constructor({ server, platform, folder, more = [] }) {
    Object.assign(this, { server, platform, folder, more });
  }

  async start() {
    const { server, platform } = this;
    this.program = new Program(
      'run',
      ...['--data', this.folder, '--listen', '127.0.0.1:0', '--token', TOKEN],
      ...['--server', server.url, '--server-root-key', server.rootKey],
      ...(server.tlsRootFile ? ['--server-ca', server.tlsRootFile] : []),
      ...(platform ? ['--platform-url', platform.url] : []),
      ...['--rate-limit', 'off', '--presence', 'available', '--log', 'info,wazap=debug'],
      ...this.more,
    );
    this.url = await this.program.line('listening on ');
    await this.program.line('ready');
    return this;
  }

  /** `{status, body}` of one call, whatever the status. */
  async call(method, path, body, headers = {}) {
    const response = await fetch(this.url + path, {
      method,
      body: body && JSON.stringify(body),
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', ...headers },
    });
    return { status: response.status, body: await response.json(), headers: response.headers };
  }

  get = (path) => this.call('GET', path);

  /** One call that sends something and must be accepted; the id. `body` may be a form. */
  async sends(path, body, method = 'POST') {
    const isForm = body instanceof FormData;
    const response = await fetch(this.url + path, {
      method,
      body: isForm ? body : body && JSON.stringify(body),
      headers: { authorization: `Bearer ${TOKEN}`, ...(isForm ? {} : { 'content-type': 'application/json' }) },
    });
    const answer = await response.json();
    if (response.status !== 200) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer.message_id;
  }

  /** The file of a message: `{status, headers, bytes}`. */
  async file(id, headers = {}) {
    const response = await fetch(`${this.url}/messages/${id}/media`, {
      headers: { authorization: `Bearer ${TOKEN}`, ...headers },
    });
    return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
  }

  /** The first event of that type in the log whose data fits; waits for it. */
  async event(type, fits) {
    const end = Date.now() + PATIENCE;
    for (let after = 0; Date.now() < end; ) {
      const { status, body } = await this.get(`/events?types=${type}&after=${after}&wait=10`);
      if (status !== 200) throw new Error(`/events: ${status} ${JSON.stringify(body)}`);
      const found = body.events.find(({ data }) => fits(data));
      if (found) return found.data;
      after = body.next;
    }
    throw new Error(`/events: no ${type} that fits`);
  }

  post = (path, body, headers) => this.call('POST', path, body, headers);

  /** Sends; the id. */
  async send(recipient, message, more = {}, headers = {}) {
    const { status, body } = await this.post('/send-message', { recipient, message, ...more }, headers);
    if (status !== 200) throw new Error(`/send-message: ${status} ${JSON.stringify(body)}`);
    return body.message_id;
  }

  /** Sends, again and again while there is no connection: the answer 503 promises that nothing was sent. */
  async sendSurely(recipient, message) {
    for (;;) {
      const { status, body } = await this.post('/send-message', { recipient, message });
      if (status === 200) return body.message_id;
      if (status !== 503) throw new Error(`/send-message: ${status} ${JSON.stringify(body)}`);
    }
  }

  status = async () => (await this.get('/status')).body;

  /** Lets the phone scan the code that `GET /qr` shows, and waits for the connection; the post that tells of it. */
  async pair(phone) {
    const since = this.platform.posts.items.length;
    await phone.scan(await this.qr());
    await this.link('connected', ({ status }) => status === 'connected');
    this.jid = (await newest(phone)).jid;
    return this.platform.connection('connected', since);
  }

  /** Asks for a code that the phone is to be given; `XXXX-XXXX`. */
  async linkCode(phone) {
    await this.qr();
    const { status, body } = await this.post('/connect', { phone: phone.number });
    if (status !== 200) throw new Error(`/connect: ${status} ${JSON.stringify(body)}`);
    return body.pairing_code;
  }

  /** The code of `GET /qr`, as soon as there is one. */
  async qr() {
    await this.link('a code', ({ qr_text }) => qr_text !== null);
    const { status, body } = await this.get('/qr');
    if (status !== 200) throw new Error(`/qr: ${status} ${JSON.stringify(body)}`);
    return body.qr_text;
  }

  /** Follows `/qr/stream`, which tells the state and every change of it, up to the first that fits. */
  async link(what, fits) {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const signal = AbortSignal.timeout(PATIENCE);
    const { body } = await fetch(`${this.url}/qr/stream`, { headers, signal });
    const seen = [];
    let text = '';
    try {
      for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
        const events = (text + chunk).split('\n\n');
        text = events.pop();
        for (const event of events) {
          const data = event.split('\n').find((line) => line.startsWith('data: '));
          if (!data) continue;
          const state = JSON.parse(data.slice('data: '.length));
          seen.push(state.status);
          if (fits(state)) return state;
        }
      }
      throw new Error('the stream ended');
    } catch (error) {
      throw new Error(`/qr/stream: waited for ${what}, saw ${seen}: ${error.message}`);
    }
  }

  /** A chat as `GET /chats/{jid}` shows it, as soon as it fits. */
  async chat(jid, fits) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const { body } = await this.get(`/chats/${jid}`);
      if (fits(body)) return body;
      if (Date.now() > end) throw new Error(`/chats: nothing that fits, last ${JSON.stringify(body)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** SIGTERM, and what is promised of it. */
  async stop() {
    if (!this.program?.alive) return;
    const { code, signal } = await this.program.end('SIGTERM');
    if (code !== 0) throw new Error(`wazap run ended with ${code ?? signal}:\n${this.tail()}`);
  }

  kill = () => this.program.end('SIGKILL');
  tail = (lines = 30) => this.program?.log.items.slice(-lines).join('\n') ?? '';
}

export async function newest(phone) {
  const companions = await phone.companions();
  return companions.reduce((a, b) => (a && a.device > b.device ? a : b), undefined);
}
