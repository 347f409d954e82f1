import { statfs } from "node:fs/promises";
import { observeGauge } from "./instruments.ts";
import { METRIC } from "./metrics.ts";

/**
 * Measures the file system that `directory` lies on, as this user may fill it. Every reading tells what the look before it found: a file system that hangs (a lost NFS server) must not hang the metrics.
 * Nothing is told while the directory is not there.
 */
export function observeDisk(directory: string): void {
  let known: { size: number; free: number } | null = null;
  let isLooking = false;
  const look = (): void => {
    if (isLooking) return;
    isLooking = true;
    statfs(directory)
      .then(({ bsize, blocks, bavail }) => {
        known = { size: bsize * blocks, free: bsize * bavail };
      })
      .catch(() => {
        known = null;
      })
      .finally(() => {
        isLooking = false;
      });
  };
  look();
  observeGauge(METRIC.diskFree, (result) => {
    look();
    if (known !== null) result.observe(known.free, {});
  });
  observeGauge(METRIC.diskSize, (result) => {
    if (known !== null) result.observe(known.size, {});
  });
}
