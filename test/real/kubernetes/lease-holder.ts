/** The pod of whoever holds a Lease: a replica is called by its host's name, which is its pod's, and its process. */
export function podOf(holder: string): string {
  return holder.replace(/-\d+$/, "");
}
