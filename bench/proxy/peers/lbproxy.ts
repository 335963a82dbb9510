/** lbproxy, started like by a user, with one of the configurations in `bench/peers/lbproxy/`. */

import type { Peer } from "../peer.ts";

/** A variant of lbproxy. */
export interface LbproxyVariant {
  readonly name: string;
  readonly title: string;
  /** Name of the configuration, without its extension. */
  readonly config: string;
  readonly scenarios?: readonly string[];
  /** Whether it writes a line per request, which is discarded. @default {false} */
  readonly accessLog?: boolean;
  /** Number of workers. @default {1} */
  readonly workers?: number;
}

/** Makes a variant. */
export function lbproxy(variant: LbproxyVariant): Peer {
  const { name, title, config, scenarios, accessLog = false, workers = 1 } = variant;
  return {
    name,
    title,
    kind: "lbproxy",
    ...(scenarios === undefined ? {} : { scenarios }),
    program: Deno.execPath(),
    install: "it is the program that runs this",
    versionArgs: ["--version"],
    prepare: ({ port, servers, root }) =>
      Promise.resolve({
        command: Deno.execPath(),
        args: [
          "run",
          "-A",
          `${root}/mod.ts`,
          `${root}/bench/peers/lbproxy/${config}.config.ts`,
          ...(accessLog ? [] : ["--log-level", "warn"]),
          ...(workers === 1 ? [] : ["--workers", String(workers)]),
        ],
        env: {
          BENCH_LISTEN: `127.0.0.1:${port}`,
          BENCH_SERVERS: servers.map((server) => `127.0.0.1:${server}`).join(),
        },
      }),
  };
}
