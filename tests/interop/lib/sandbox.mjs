// `wazap sandbox`, and its control API.

import { readFile } from 'node:fs/promises';

import { PATIENCE } from './journal.mjs';
import { Program } from './program.mjs';

export class Sandbox {
  #more;

  static async start(seed, more = []) {
    const sandbox = new Sandbox();
    sandbox.#more = ['--seed', String(seed), ...more];
    await sandbox.#start('127.0.0.1:0');
    return sandbox;
  }

  async #start(address) {
    this.program = new Program('sandbox', '--listen', address, ...this.#more);
    this.url = await this.program.line('sandbox on ');
    this.rootKey = await this.program.line('sandbox root key ');
    this.tlsRootFile = await this.program.line('sandbox tls root ');
    this.tlsRoot = await readFile(this.tlsRootFile);
    this.admin = `http://${new URL(this.url).host}/admin`;
  }

  /** Ends, and comes again at the same address; how it ended. */
  async restart() {
    const ended = await this.stop();
    await this.#start(new URL(this.url).host);
    return ended;
  }

  /** One call; the parsed answer, or an error that says what was refused. */
  async call(method, path, body) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(this.admin + path, {
      method,
      body: text,
      headers: typeof body === 'object' ? { 'content-type': 'application/json' } : {},
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${method} /admin${path}: ${response.status} ${answer}`);
    return answer === '' ? undefined : JSON.parse(answer);
  }

  get = (path) => this.call('GET', path);
  post = (path, body) => this.call('POST', path, body);
  put = (path, body) => this.call('PUT', path, body);

  /** Puts these faults in force, and no others. */
  faults = (faults) => this.put('/faults', faults);

  /** `drop`, `stream-error`, `freeze` or `refuse` for one companion. */
  trouble = (jid, command, body) => this.post(`/devices/${encodeURIComponent(jid)}/${command}`, body);

  /** A phone of its own number. */
  phone = async (name) => new Phone(this, await this.post('/phones', { name }));

  /** Cuts the TCP connection of one companion; false if it has none at the moment. */
  async drop(jid) {
    try {
      await this.trouble(jid, 'drop');
      return true;
    } catch (error) {
      if (/not connected/.test(error.message)) return false;
      throw error;
    }
  }

  stop = () => this.program.end('SIGTERM');
}

/** A simulated phone. */
export class Phone {
  constructor(sandbox, { number, lid, name }) {
    Object.assign(this, { sandbox, number, lid, name, jid: `${number}@s.whatsapp.net` });
  }

  get path() {
    return `/phones/${this.number}`;
  }

  scan = (qr) => this.sandbox.post(`${this.path}/scan-qr`, qr);
  /** Types a code that a companion shows; rejects if it was the wrong one. */
  typeCode = (code) => this.sandbox.post(`${this.path}/link-code`, { code });
  /** Calls a number or JID; the call's id. */
  call = async (to, more = {}) => (await this.sandbox.post(`${this.path}/call`, { to, ...more })).id;
  answer = (id) => this.sandbox.post(`${this.path}/answer`, { id });
  /** Ends a call, or rejects one that rings. */
  hangUp = (id) => this.sandbox.post(`${this.path}/hangup`, { id });
  /** What became of a call, as the phone lists it. */
  callState = async (id) => (await this.sandbox.get(`${this.path}/calls`)).calls.find((call) => call.id === id)?.state;
  companions = async () => (await this.sandbox.get(this.path)).companions;
  unlink = (device) => this.sandbox.post(`${this.path}/unlink`, { device });
  send = async (to, text, more = {}) => (await this.sandbox.post(`${this.path}/send`, { to, text, ...more })).id;
  read = (id) => this.sandbox.post(`${this.path}/read`, { id });

  /** The records of app state that the phone has, as it verified them. */
  appState = async () => (await this.sandbox.get(`${this.path}/app-state`)).actions;
  /** The record with that index, as soon as the phone has it in a form that fits. */
  record = async (index, fits) => {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const found = (await this.appState()).find((record) => record.index.join() === index.join());
      if (fits(found?.value)) return found?.value;
      if (Date.now() > end) throw new Error(`phone ${this.name}: no such ${index}: ${JSON.stringify(found)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  change = (change) => this.sandbox.post(`${this.path}/app-state`, change);
  contact = (number, name) => this.sandbox.post(`${this.path}/contacts`, { number, name });
  /** What a companion that is linked later is told of the past: `{chats, messages, groups?, recent?}`. */
  history = (past) => this.sandbox.post(`${this.path}/history`, past);
  snapshot = () => this.sandbox.post(`${this.path}/app-state/snapshot`, {});
  /** Switched off, everything for the phone waits. */
  online = (online) => this.sandbox.post(`${this.path}/online`, { online });
  /** Makes a new app-state key, and tells its companions. */
  rotateKey = () => this.sandbox.post(`${this.path}/app-state/rotate`, {});

  /** What the phone itself received after that message; waits until there is something. */
  messages = async (after) => {
    const more = after === undefined ? '' : `&after=${after}`;
    return (await this.sandbox.get(`${this.path}/messages?wait=30${more}`)).messages;
  };

  /** Waits for the message with this id. */
  async message(id) {
    for (let after; ; ) {
      const messages = await this.messages(after);
      const found = messages.find((message) => message.id === id);
      if (found) return found;
      if (messages.length === 0) throw new Error(`phone ${this.name}: no message ${id}`);
      after = messages.at(-1).id;
    }
  }
}
