/** What the store needs of a connection to Redis or Valkey. */

/** The scripts that a store runs. */
export type ScriptName = "decide" | "permit" | "correct";

/** A connection that is made again by itself whenever it is lost. */
export interface RedisConnection extends AsyncDisposable {
  /** Whether a command that is sent now goes out at once. */
  readonly ready: boolean;

  /**
   * Runs a script by its hash, and sends its text when the server does not know it.
   *
   * Rejects at once when the connection is lost; does not by itself give up on a server that says nothing.
   *
   * @param keys how many of the arguments are keys
   */
  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]>;

  /** Finds out whether the server would count now; rejects when it does not. */
  check(): Promise<unknown>;

  /** Told of the error that a call ended with: it may say that another server has to be asked. */
  heed(error: unknown): void;
}

/** Hears how a connection fares. */
export interface ConnectionListener {
  /** The server counts. */
  onReady(): void;
  /** It cannot be reached or does not count, or does not any more. */
  onLost(reason: string): void;
}
