/** What is compared. */

/** Where a peer listens and what is behind it. */
export interface PeerSetup {
  /** Port of the peer. */
  readonly port: number;
  /** Ports of the servers. */
  readonly servers: readonly number[];
  /** A directory of its own, for configuration files and the like. */
  readonly directory: string;
  /** Root of the repository. */
  readonly root: string;
}

/** How to start a peer's program. */
export interface PeerCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A program that is measured, one process tree. */
export interface Peer {
  /** Short, for the command line and the results. */
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** `"floor"` is no proxy, and only says how far down one could get. */
  readonly kind: "lbproxy" | "proxy" | "floor";
  /** Names of the scenarios that it takes part in; all that are made for proxies when there are none. */
  readonly scenarios?: readonly string[];
  /** The program, to see whether it is there. */
  readonly program: string;
  /** How somebody gets the program. */
  readonly install: string;
  /** What to run to learn its version. */
  readonly versionArgs: readonly string[];
  /** Writes what the program needs and says how to start it. */
  prepare(setup: PeerSetup): Promise<PeerCommand>;
}
