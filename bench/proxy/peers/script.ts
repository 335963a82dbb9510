/** Peers that are a file in `bench/peers/`, called with their port and those of the servers. */

import type { Peer } from "../peer.ts";

/** What tells them apart. */
export interface ScriptOptions {
  readonly name: string;
  readonly title: string;
  readonly kind: Peer["kind"];
  readonly file: string;
  /** Runs under Node rather than Deno. @default {false} */
  readonly node?: boolean;
  readonly scenarios?: readonly string[];
}

/** Makes the peer. */
export function script({ name, title, kind, file, node = false, scenarios }: ScriptOptions): Peer {
  const program = node ? "node" : Deno.execPath();
  return {
    name,
    title,
    kind,
    ...(scenarios === undefined ? {} : { scenarios }),
    program,
    install: node ? "apt-get install nodejs" : "it is the program that runs this",
    versionArgs: ["--version"],
    prepare: ({ port, servers, root }) =>
      Promise.resolve({
        command: program,
        args: [
          ...(node ? [] : ["run", "-A"]),
          `${root}/bench/peers/${file}`,
          String(port),
          ...servers.map(String),
        ],
      }),
  };
}
