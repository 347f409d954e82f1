import { LRUCache } from "lru-cache";

/** Answers by key: whoever asks for the same gets the same, also while the first asking is under way. */
export interface Pins<T> {
  get(key: string, make: () => Promise<T>): Promise<T>;
}

const MAX_PINNED = 4_096;

/** Pins the newest few thousand answers that `keep` says are final; what is not, or was rejected, is asked for again. */
export function createPins<T extends object>(keep: (value: T) => boolean): Pins<T> {
  const pinned = new LRUCache<string, Promise<T>>({ max: MAX_PINNED });
  return {
    get(key, make) {
      const known = pinned.get(key);
      if (known !== undefined) return known;
      const forget = (): void => {
        if (pinned.get(key) === made) pinned.delete(key);
      };
      const made: Promise<T> = make();
      pinned.set(key, made);
      made.then((value) => keep(value) || forget(), forget);
      return made;
    },
  };
}
