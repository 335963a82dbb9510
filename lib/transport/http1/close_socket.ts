/** Closing what may be closed already. */

/** Closes a socket; does nothing when it is closed, by us or by the runtime when it failed. */
export function closeSocket(socket: Deno.Conn): void {
  try {
    socket.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
