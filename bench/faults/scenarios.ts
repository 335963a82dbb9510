/** Faults that occur while a proxy is under load. */

import { blackHole } from "../../tests/support/black_hole.ts";
import { RedisServer } from "../../tests/support/redis_server.ts";
import { freePort } from "../proxy/free_port.ts";
import type { RunningProgram } from "../proxy/running_program.ts";
import { type FaultServer, faultyServer, goodServer } from "./servers.ts";

/** Waits; ends early if it is aborted. */
export type Sleep = (ms: number) => Promise<void>;

/** What a scenario uses while the load runs. */
export interface Running {
  readonly sleep: Sleep;
  readonly peer: RunningProgram;
  readonly stopSignal: Deno.Signal;
  /** Called when a good server is back after there was none. */
  readonly back: () => void;
}

/** The servers of one run, and the fault. */
export interface Prepared {
  readonly ports: readonly number[];
  /** URL of the Redis server that counts limits. */
  readonly redis?: string;
  during?(running: Running): Promise<void>;
}

/** A fault. */
export interface Fault {
  readonly name: string;
  readonly title: string;
  readonly seconds: number;
  readonly connections: number;
  /** Whether there is a good server at all times, so that no idempotent request may fail. */
  readonly spared: boolean;
  /** Limit of file descriptors of the proxy. */
  readonly descriptors?: number;
  /** Whether only lbproxy is tested. */
  readonly own?: boolean;
  /** Why a variant of lbproxy cannot avoid failures, by its name. */
  readonly cannot?: Readonly<Record<string, string>>;
  /** Whether the proxy is stopped during the run. */
  readonly ends?: boolean;
  prepare(directory: string, stack: AsyncDisposableStack): Promise<Prepared>;
}

const CONNECTIONS = 32;
const SECONDS = 8;

async function goodServers(
  count: number,
  directory: string,
  stack: AsyncDisposableStack,
): Promise<FaultServer[]> {
  const servers: FaultServer[] = [];
  for (let i = 0; i < count; i++) servers.push(stack.use(await goodServer(`${directory}/${i}`)));
  return servers;
}

const portsOf = (servers: readonly FaultServer[]): number[] => servers.map(({ port }) => port);
const usual = { seconds: SECONDS, connections: CONNECTIONS, spared: true } as const;

/** Two good servers, and one that breaks connections. */
function faulty(mode: "reset" | "close", every: number): Fault["prepare"] {
  return async (directory, stack) => {
    const good = await goodServers(2, directory, stack);
    return { ports: portsOf([...good, stack.use(await faultyServer(mode, every))]) };
  };
}

/** All scenarios, in the order in which they are run. */
export const FAULTS: readonly Fault[] = [
  {
    ...usual,
    name: "killed",
    title: "a server is killed and started again each second",
    async prepare(directory, stack) {
      const servers = await goodServers(3, directory, stack);
      return {
        ports: portsOf(servers),
        async during({ sleep }) {
          for (let second = 1; second < SECONDS; second++) {
            await sleep(700);
            await servers[2]!.kill();
            await sleep(300);
            await servers[2]!.start();
          }
        },
      };
    },
  },
  {
    ...usual,
    name: "stopped",
    title: "a server stands still for 4 s",
    seconds: 10,
    async prepare(directory, stack) {
      const servers = await goodServers(3, directory, stack);
      return {
        ports: portsOf(servers),
        async during({ sleep }) {
          await sleep(2000);
          servers[2]!.stop();
          await sleep(4000);
          servers[2]!.goOn();
        },
      };
    },
  },
  {
    ...usual,
    name: "resetting",
    title: "a server resets each 50th response",
    prepare: faulty("reset", 50),
  },
  {
    ...usual,
    name: "closing",
    title: "a server closes kept connections just as a request comes",
    prepare: faulty("close", 10),
  },
  {
    ...usual,
    name: "all-gone",
    title: "all servers are gone for 2 s",
    spared: false,
    async prepare(directory, stack) {
      const servers = await goodServers(3, directory, stack);
      return {
        ports: portsOf(servers),
        async during({ sleep, back }) {
          await sleep(2000);
          await Promise.all(servers.map((server) => server.kill()));
          await sleep(2000);
          await Promise.all(servers.map((server) => server.start()));
          back();
        },
      };
    },
  },
  {
    ...usual,
    name: "descriptors",
    title: "256 descriptors and 400 connections",
    connections: 400,
    descriptors: 256,
    cannot: {
      "lbproxy-deno": "Deno.serve accepts more connections than there are descriptors for, and then none",
    },
    prepare: async (directory, stack) => ({ ports: portsOf(await goodServers(3, directory, stack)) }),
  },
  {
    ...usual,
    name: "sigterm",
    title: "the proxy is told to stop, under load",
    seconds: 4,
    ends: true,
    prepare: async (directory, stack) => ({
      ports: portsOf(await goodServers(3, directory, stack)),
      async during({ sleep, peer, stopSignal }) {
        await sleep(2000);
        peer.signal(stopSignal);
      },
    }),
  },
  {
    ...usual,
    name: "backlog",
    title: "a server whose accept queue is full",
    async prepare(directory, stack) {
      const good = await goodServers(2, directory, stack);
      const hole = stack.use(await blackHole() ?? { [Symbol.dispose]() {}, address: `:${freePort()}` });
      return { ports: [...portsOf(good), Number(hole.address.split(":").at(-1))] };
    },
  },
  {
    ...usual,
    name: "redis",
    title: "Redis is killed for 2 s, and stands still for 2 s",
    own: true,
    async prepare(directory, stack) {
      const servers = await goodServers(3, directory, stack);
      const redis = stack.use(await RedisServer.start());
      return {
        ports: portsOf(servers),
        redis: redis.url,
        async during({ sleep }) {
          await sleep(1000);
          await redis.kill();
          await sleep(2000);
          await redis.restart();
          await sleep(1500);
          redis.pause();
          await sleep(2000);
          redis.resume();
        },
      };
    },
  },
];
