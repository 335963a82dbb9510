/** Starts the installed programs, and reports how to install the others. */

import { freePort } from "./free_port.ts";
import type { Peer, PeerSetup } from "./peer.ts";
import { type RunningProgram, startProgram } from "./running_program.ts";

/** How long a program may take to print its version, in milliseconds. */
const VERSION_MS = 5000;

/** A running program. */
export interface RunningPeer {
  readonly peer: Peer;
  readonly program: RunningProgram;
  /** First line of the output with its version. */
  readonly version: string;
}

/**
 * Starts every program that is installed.
 *
 * @param stack receives the programs to be stopped
 * @param say receives messages about programs that are left out
 */
export async function startPeers(
  peers: readonly Peer[],
  setup: Omit<PeerSetup, "port">,
  { stack, say }: { readonly stack: AsyncDisposableStack; readonly say: (line: string) => void },
): Promise<RunningPeer[]> {
  const running: RunningPeer[] = [];
  for (const peer of peers) {
    const version = await versionOf(peer);
    if (version === null) {
      say(`left out: ${peer.title}; to have it measured: ${peer.install}`);
      continue;
    }
    const directory = `${setup.directory}/${peer.name}`;
    await Deno.mkdir(directory, { recursive: true });
    const port = freePort();
    const program = stack.use(await startProgram(await peer.prepare({ ...setup, directory, port }), port));
    running.push({ peer, program, version });
  }
  return running;
}

async function versionOf({ program, versionArgs }: Peer): Promise<string | null> {
  try {
    const { stdout, stderr } = await new Deno.Command(program, {
      args: [...versionArgs],
      signal: AbortSignal.timeout(VERSION_MS),
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    return text.trim().split("\n")[0] ?? "";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
