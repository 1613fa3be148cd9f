// A real server and a network cable that can be cut.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Starts a Parley in a process of its own. */
export async function startServer() {
  const folder = fileURLToPath(new URL('../testdata/server', import.meta.url));
  const child = spawn('go', ['run', '.'], { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
  const [address] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`the server ended with ${code}`))),
  ]);
  return {
    port: Number(address.split(':').at(-1)),
    url: `ws://${address}/ws`,
    async stop() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
      return child.exitCode;
    },
  };
}

/** A cable to a port of this machine. @param {number} port */
export async function startCable(port) {
  /** @type {Set<net.Socket>} */
  const ends = new Set();
  let frozen = false;
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      ends.add(from);
      from.on('data', (chunk) => void (frozen || to.write(chunk)));
      from.on('error', () => {});
      from.on('close', () => {
        ends.delete(from);
        if (!frozen) to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: own } = /** @type {net.AddressInfo} */ (server.address());
  return {
    url: `ws://127.0.0.1:${own}/ws`,
    /** Every connection breaks at once. */
    cut() {
      for (const end of ends) end.resetAndDestroy();
    },
    /** Nothing passes any more and nobody is told, for the connections there are and those to come. @param {boolean} on */
    freeze(on) {
      frozen = on;
      if (!on) this.cut();
    },
    async stop() {
      this.cut();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Waits for the next event that fits. @param {import('../parley.js').Parley} live @param {any} name @param {(event: any) => boolean} [fits] */
export function event(live, name, fits = () => true) {
  return new Promise((resolve) => {
    const off = live.on(name, (e) => {
      if (!fits(e)) return;
      off();
      resolve(e);
    });
  });
}

/** Settles once live is in that state. @param {import('../parley.js').Parley} live @param {string} state */
export async function reached(live, state) {
  if (live.state.state !== state) await event(live, 'state', (s) => s.state === state);
}
