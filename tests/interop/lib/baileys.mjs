// A companion that is an unmodified Baileys, told about the sandbox by its public options only.

import https from 'node:https';
import { Writable } from 'node:stream';

import {
  DEFAULT_CONNECTION_CONFIG,
  DisconnectReason,
  WA_CERT_DETAILS,
  downloadMediaMessage,
  jidNormalizedUser,
  generateMessageIDV2,
  makeWASocket,
  proto,
  useMultiFileAuthState,
} from 'baileys';
import pino from 'pino';
import { Agent, buildConnector } from 'undici';

import { Journal, PATIENCE } from './journal.mjs';

/** Pause before it connects again, in milliseconds. */
const RECONNECT = 50;

/** What Baileys complains of in every pairing: its restart, and that it comes online before the phone told its name. */
const PAIRING = [/"code":"515".*stream errored out/, /no name present, ignoring presence update request/];

/**
 * What a cut does to Baileys, and what it complains of. A message whose receipt it could not write, because its socket
 * had just closed, is decrypted but never reported; the server delivers it again, that fails ("key used already"), and
 * Baileys asks the sender for it; if that is cut short too, it deletes its session and cannot read what is under way until
 * the sender has started a new one; and what comes live overtakes the backlog it still works on. So on its side the order
 * is that of the stanzas at its socket, and a message has arrived when it was decrypted.
 */
export const CUT = [
  /EPIPE|Connection Closed|Connection was lost|WebSocket was closed|the socket is closed|ECONNRESET|socket hang up/,
  /MessageCounterError|Key used already or never filled/,
  /No matching sessions found for message|"SessionError".*transaction failed|with any known session|Session error:/,
  /"SessionError".*No session record/,
  /Decrypted message with closed session|Closing open session in favor of incoming prekey bundle/,
  /timed out waiting for message/,
];

/** Its Signal library prints to the console, whole sessions too; errors and warnings are kept for the story's end. */
let printed = [];
console.info = () => {};
console.warn = console.error = (...words) => printed.push(words.map(String).join(' '));

/** What was printed since the last call. */
export function spoken() {
  const lines = printed;
  printed = [];
  return lines;
}

/** Complaints that neither pairing nor what the story does explains. */
export const unexplained = (complaints, expected) =>
  complaints.filter((line) => ![...PAIRING, ...expected].some((pattern) => pattern.test(line)));

export class Companion {
  /** `{id, text, fromMe, key, message, type, pushName}`, one per message that Baileys reports, its own included. */
  messages = new Journal('messages of Baileys');
  /** `{id, status}`: 2 server, 3 delivered, 4 read. */
  updates = new Journal('status updates of Baileys');
  /** Ids of the messages that reached its socket, each time they did. */
  arrived = new Journal('message stanzas at the socket of Baileys');
  /** Text and sender of everything it could decrypt, also of what it then forgets because its socket closed. */
  decrypted = new Journal('texts decrypted by Baileys');
  /** `{id, update}`: edits and deletions, `message` being null for a deletion. */
  changes = new Journal('changes seen by Baileys');
  /** `{id, text, key}`: what was reacted to, and with what; `key` is that of the reaction itself. */
  reactions = new Journal('reactions seen by Baileys');
  /** `{event, ...}`: what other devices of the account changed: chats, stars, deletions, contacts. */
  states = new Journal('app state seen by Baileys');
  /** What it was told of the past, part after part, as its event says it. */
  histories = new Journal('history seen by Baileys');
  /** `{chat, who, state}`: available, unavailable, composing, recording. */
  presences = new Journal('presences seen by Baileys');
  /** What it is told of calls: `{id, from, status, isVideo, isGroup, callerPn}`. */
  calls = new Journal('calls seen by Baileys');
  /** `{connection, code?}`, `{qr}`, `{isOnline}`, `{name}` … */
  connection = new Journal('connection of Baileys');
  /** Lines of level warning and above, as text. */
  complaints = [];

  #sandbox;
  #folder;
  #name;
  #socket;
  #ending = false;
  #closed = Promise.resolve();
  #dispatcher;
  #turns = new Turns();
  #sent = new Map();

  constructor({ sandbox, folder, name }) {
    this.#sandbox = sandbox;
    this.#folder = folder;
    this.#name = name;
    // Downloads go through `fetch`, everything else through Node's own agent.
    this.#dispatcher = new Agent({ connect: toSandbox(sandbox) });
    // The Noise root is an exported, mutable constant: this is the documented way to speak to another server.
    WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(sandbox.rootKey, 'hex');
  }

  /** The socket in use. */
  get sock() {
    return this.#socket;
  }

  /** This device, as the sandbox names it. */
  get jid() {
    return this.sock.user.id;
  }

  get open() {
    return this.connection.items.at(-1)?.connection === 'open';
  }

  /** Starts without credentials; the first code. */
  async code() {
    await this.#start();
    const { qr } = await this.connection.find('a code', (update) => update.qr !== undefined);
    return qr;
  }

  /** Pairs with the phone and comes online. */
  async pair(phone) {
    await phone.scan(await this.code());
    return this.paired();
  }

  /** Asks for a code that the phone of this number is to be given, beside the QR code; `XXXXXXXX`. */
  async linkCode(number) {
    if (!this.#socket) await this.code();
    return this.sock.requestPairingCode(number);
  }

  /** Waits until a phone has linked it and it is online. */
  async paired() {
    await this.connection.find('open', (update) => update.connection === 'open');
    await this.connection.find('its name', (update) => update.name !== undefined);
    await this.sock.sendPresenceUpdate('available');
    await this.#settled(0);
    await this.messages.find('the last of its history', ({ message }) => historyOf(message)?.progress === 100);
    await this.#acknowledged();
    return this;
  }

  /** The server waits for nothing more: what it had to say would else be said again to whoever stops now. */
  async #acknowledged() {
    const [number, device] = this.jid.match(/\d+/g);
    const end = Date.now() + PATIENCE;
    for (;;) {
      const { companions } = await this.#sandbox.get(`/phones/${number}`);
      const own = companions.find((companion) => companion.device === Number(device));
      if (own?.queued === 0) return;
      if (Date.now() > end) throw new Error(`${this.jid} does not acknowledge ${own?.queued} stanzas`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Connects with what is in the folder. */
  async start() {
    const since = this.connection.items.length;
    await this.#start();
    await this.#settled(since);
    return this;
  }

  async restart() {
    await this.stop();
    return this.start();
  }

  /** Closes for good, without logging out. */
  async stop() {
    this.#ending = true;
    await this.#socket?.end(undefined);
    await this.#closed;
  }

  /** Open, and shown as online: before that its receipts do not count as delivery. */
  async #settled(since) {
    const later = (item) => this.connection.items.indexOf(item) >= since;
    await this.connection.find('open', (update) => later(update) && update.connection === 'open');
    await this.connection.find('online', (update) => later(update) && update.isOnline === true);
    await this.connection.find('backlog drained', (update) => later(update) && update.receivedPendingNotifications);
  }

  async #start() {
    this.#ending = false;
    const sandbox = this.#sandbox;
    const { state, saveCreds } = await useMultiFileAuthState(this.#folder);
    const agent = new https.Agent({ ca: sandbox.tlsRoot });
    const gate = { closed: false };
    const sock = makeWASocket({
      auth: state,
      waWebSocketUrl: sandbox.url,
      agent,
      fetchAgent: agent,
      options: { dispatcher: this.#dispatcher },
      logger: this.#logger(gate),
      pushName: this.#name,
      getMessage: (key) => this.#sentMessage(key),
      makeSignalRepository: (...args) => this.#repository(gate, args),
    });
    this.#socket = sock;
    sock.ev.on('creds.update', async ({ me }) => {
      await saveCreds();
      // While a code is on show it goes by the name `~`.
      if (me?.name && me.name !== '~') this.connection.push({ name: me.name });
    });
    sock.ws.on('CB:message', ({ attrs }) => this.arrived.push(attrs.id));
    // Of several receipts at once Baileys reports the last, also where an own device's comes behind a reader's.
    sock.ws.on('CB:receipt', ({ attrs: { id, type } }) => {
      const status = { undefined: 3, read: 4 }[type];
      if (status !== undefined) this.updates.push({ id, status });
    });
    sock.ev.on('messages.upsert', ({ messages, type }) => {
      for (const message of messages) this.#take(message, type);
    });
    sock.ev.on('messages.update', (updates) => {
      for (const { key, update } of updates) {
        if (update.starred !== undefined) this.states.push({ event: 'star', id: key.id, starred: update.starred });
        else if (update.message === undefined) this.updates.push({ id: key.id, ...update });
        else this.changes.push({ id: key.id, update });
      }
    });
    for (const event of ['chats.update', 'contacts.upsert', 'labels.edit']) {
      sock.ev.on(event, (items) => [items].flat().forEach((item) => this.states.push({ event, ...item })));
    }
    sock.ev.on('chats.delete', (ids) => ids.forEach((id) => this.states.push({ event: 'chats.delete', id })));
    sock.ev.on('messages.delete', ({ keys }) => {
      for (const { id } of keys) this.states.push({ event: 'messages.delete', id });
    });
    sock.ev.on('messaging-history.set', (history) => this.histories.push(history));
    sock.ev.on('messages.reaction', (reactions) => {
      for (const { key, reaction } of reactions) this.reactions.push({ id: key.id, text: reaction.text, key: reaction.key });
    });
    sock.ev.on('call', (calls) => calls.forEach((call) => this.calls.push(call)));
    sock.ev.on('presence.update', ({ id, presences }) => {
      for (const [who, { lastKnownPresence }] of Object.entries(presences)) {
        this.presences.push({ chat: id, who, state: lastKnownPresence });
      }
    });
    this.#closed = new Promise((resolve) => {
      sock.ev.on('connection.update', async (update) => {
        if (update.connection === 'close') {
          gate.closed = true;
          await this.#turns.idle();
          await saveCreds();
          resolve();
          this.#whenClosed(update.lastDisconnect?.error);
        } else {
          this.connection.push(update);
        }
      });
    });
  }

  #whenClosed(error) {
    const code = error?.output?.statusCode ?? error?.code;
    this.connection.push({ connection: 'close', code });
    // As every application of Baileys does: connect again, unless the phone logged us out or another took our place.
    const final = [DisconnectReason.loggedOut, DisconnectReason.connectionReplaced];
    if (!this.#ending && !final.includes(code)) setTimeout(() => this.#ending || this.#start(), RECONNECT).unref();
  }

  #take({ key, message, messageTimestamp, pushName, status }, type) {
    const t = Number(messageTimestamp);
    this.messages.push({ id: key.id, text: textOf(message), fromMe: key.fromMe, key, message, type, pushName, t });
    // Receipts that come while Baileys still holds a message back are folded into it.
    if (status) this.updates.push({ id: key.id, status });
  }

  /**
   * A session is worked on by one send or one decryption at a time. Baileys keeps the two in transactions that do
   * not know of each other, and an old socket's beside a new one's, so that they overwrite each other's ratchets.
   */
  #repository(gate, args) {
    const repository = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(...args);
    const { decryptMessage } = repository;
    repository.decryptMessage = (what) =>
      this.#turns.take(async () => {
        if (gate.closed) throw new Error('the socket is closed');
        const padded = await decryptMessage(what);
        const message = proto.Message.decode(padded.subarray(0, padded.length - padded.at(-1)));
        const text = textOf(message.deviceSentMessage?.message ?? message);
        if (text !== undefined) this.decrypted.push({ text, from: jidNormalizedUser(what.jid) });
        return padded;
      });
    return repository;
  }

  #logger(gate) {
    const lines = new Writable({
      write: (line, _, done) => {
        // What it was at when it was told to end, it cannot finish.
        if (!gate.closed && !this.#ending) this.complaints.push(line.toString().trim());
        done();
      },
    });
    return pino({ level: 'warn', timestamp: false, base: undefined }, lines);
  }

  /** Sends; the id. */
  async send(to, content, options = {}) {
    const what = typeof content === 'string' ? { text: content } : content;
    const sent = await this.#turns.take(() => this.sock.sendMessage(to, what, options));
    this.#sent.set(sent.key.id, sent.message);
    return sent.key.id;
  }

  /** The content of what it sent. */
  sentContent = (id) => this.#sent.get(id);

  /** What it sent: Baileys asks for it when a receiver could not decrypt, which may be before the sending has ended. */
  async #sentMessage({ id }) {
    await this.#turns.idle();
    return this.#sent.get(id);
  }

  /**
   * Sends under one id until the server has acknowledged it. Baileys itself neither waits for that nor sends again,
   * so this is what a careful application adds.
   */
  async sendSurely(to, text) {
    const messageId = generateMessageIDV2(this.sock.user.id);
    for (;;) {
      await this.#online();
      const [sock, closed] = [this.#socket, this.#closed];
      try {
        const acknowledged = sock.waitForMessage(messageId, PATIENCE);
        acknowledged.catch(() => {});
        await this.send(to, text, { messageId });
        await acknowledged;
        return messageId;
      } catch (error) {
        if (sock.ws.isOpen) throw error;
        await closed;
      }
    }
  }

  /** Waits until the present socket is open. */
  #online() {
    const { items } = this.connection;
    const last = (update) => items.slice(items.indexOf(update)).every(({ connection }) => connection !== 'close');
    return this.connection.find('the way back', (update) => update.connection === 'open' && last(update));
  }

  /** The first change of that kind that fits, of those that are there or still come. */
  state = (event, fits) =>
    this.states.find(`${event} that fits`, (state) => state.event === event && fits(state));

  /** Changes something of app state; `last` is the newest message of the chat. */
  modify = (chat, change, last) =>
    this.sock.chatModify({ ...change, lastMessages: last ? [{ key: last.key, messageTimestamp: last.t }] : [] }, chat);

  /** The decrypted file of a message. */
  download = (message) => downloadMediaMessage(message, 'buffer', { options: { dispatcher: this.#dispatcher } });

  /** What it is told of one call with that status. */
  callWith = (id, status, patience) =>
    this.calls.find(`${status} of call ${id}`, (call) => call.id === id && call.status === status, patience);

  messageWith = (id) => this.messages.find(`message ${id}`, (message) => message.id === id && message.text !== undefined);
  /** The same for a message of any kind. */
  contentWith = (id) => this.messages.find(`message ${id}`, (message) => message.id === id && message.message);
  /** Waits for a status at least that high: of several that come together Baileys reports the last. */
  status = (id, status) =>
    this.updates.find(`status ${status} of ${id}`, (update) => update.id === id && update.status >= status);
  read = (message) => this.sock.readMessages([message.key]);
  closed = (code) =>
    this.connection.find(`close ${code}`, (update) => update.connection === 'close' && update.code === code);
}

/** Of history Baileys knows a path alone, and where that is: at WhatsApp's own media server. Here the sandbox is that. */
function toSandbox(sandbox) {
  const connect = buildConnector({ ca: sandbox.tlsRoot });
  const { hostname, port } = new URL(sandbox.admin);
  return (options, done) => {
    const here = options.hostname === 'mmg.whatsapp.net' ? { host: hostname, hostname, port, servername: 'localhost' } : {};
    return connect({ ...options, ...here }, done);
  };
}

/** One piece of work after the other. */
class Turns {
  #last = Promise.resolve();

  take(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Until all that was taken so far has ended. */
  idle = () => this.#last;
}

const historyOf = (message) => message?.protocolMessage?.historySyncNotification;

/** The text of a message, `undefined` if it is of another kind. */
export function textOf(message) {
  return message?.conversation || message?.extendedTextMessage?.text || undefined;
}
