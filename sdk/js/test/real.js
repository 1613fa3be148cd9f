// A real server and a network cable that can be cut.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Starts a Parley in a process of its own. @param {string} [heartbeat] as Go writes durations; '1s' when absent */
export async function startServer(heartbeat = '1s') {
  const folder = fileURLToPath(new URL('../testdata/server', import.meta.url));
  const child = spawn('go', ['run', '.', heartbeat], { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
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
  /** @type {Set<net.Socket>} */
  const fars = new Set();
  const carried = { up: 0, down: 0 };
  let frozen = false;
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    fars.add(far);
    far.on('close', () => fars.delete(far));
    for (const [from, to, way] of /** @type {[net.Socket, net.Socket, 'up' | 'down'][]} */ ([[near, far, 'up'], [far, near, 'down']])) {
      ends.add(from);
      from.on('data', (chunk) => {
        carried[way] += chunk.length;
        if (!frozen) to.write(chunk);
      });
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
    /** Takes nothing more from the server, which has to keep it, for the connections there are. @param {boolean} on */
    hold(on) {
      for (const far of fars) on ? far.pause() : far.resume();
    },
    /** Bytes so far, to the server and from it. */
    carried,
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
