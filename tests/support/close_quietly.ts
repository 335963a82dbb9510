/** Closes what may have been closed already. */
export function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // Somebody else was first; Deno offers no way to ask.
  }
}
