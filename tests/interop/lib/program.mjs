// A process of the program under test: its lines, its end.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { Journal } from './journal.mjs';

const BINARY = process.env.WAZAP_BIN;
if (!BINARY) throw new Error('WAZAP_BIN names the program under test; tests/interop/run sets it');

/** Everything started here ends with this process, however that ends. */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Program {
  constructor(...args) {
    this.args = args;
    this.out = new Journal(`standard output of wazap ${args[0]}`);
    this.log = new Journal(`log of wazap ${args[0]}`);
    this.child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment() });
    running.add(this.child);
    createInterface({ input: this.child.stdout }).on('line', (line) => this.out.push(line));
    createInterface({ input: this.child.stderr }).on('line', (line) => this.log.push(line));
    // How it ended: {code} or {signal}.
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => {
        running.delete(this.child);
        this.out.push(`(ended: ${code ?? signal})`);
        resolve({ code, signal });
      });
    });
  }

  get alive() {
    return running.has(this.child);
  }

  /** The rest of the line that starts so. */
  async line(start) {
    const line = await this.out.find(`"${start}…"`, (text) => text.startsWith(start) || text.startsWith('(ended'));
    if (line.startsWith('(ended')) {
      throw new Error(`wazap ${this.args[0]} ${line} before "${start}…":\n${this.log.items.join('\n')}`);
    }
    return line.slice(start.length).trim();
  }

  async end(signal) {
    if (this.alive) this.child.kill(signal);
    return this.ended;
  }
}

/** Settings of the machine that runs the stories must not reach the program. */
function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WAZAP_')));
}
