/** Programs in `bench/peers/`, started with their port and the ports of the servers. */

import type { Peer } from "../peer.ts";

/** A script. */
export interface ScriptOptions {
  readonly name: string;
  readonly title: string;
  readonly kind: Peer["kind"];
  readonly file: string;
  /** Whether it runs with Node, not Deno. @default {false} */
  readonly node?: boolean;
  readonly scenarios?: readonly string[];
}

/** Makes the program of a script. */
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
