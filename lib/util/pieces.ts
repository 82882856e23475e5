/** V8 copies a shorter part; a longer one refers to the string that it was cut from. */
const SHORTEST_REFERENCE = 13

/** The same string in memory of its own. A part that refers to a long string keeps all of it in memory. */
export function ownText(part: string): string {
  return part.length < SHORTEST_REFERENCE ? part : (JSON.parse(JSON.stringify(part)) as string)
}

/** Pieces to join at once: few enough to take no noticeable time. */
const BLOCK = 2048

/**
 * A long string made of small pieces. V8 puts the result of `+=` together when it
 * is first read, all at once: that is quick for a few long strings, but not for a
 * hundred thousand short ones.
 */
export class Pieces {
  #text = ''
  #pieces: string[] = []

  add(piece: string): void {
    this.#pieces.push(piece)
    if (this.#pieces.length === BLOCK) this.#join()
  }

  text(): string {
    this.#join()
    return this.#text
  }

  #join(): void {
    this.#text += this.#pieces.join('')
    this.#pieces = []
  }
}
