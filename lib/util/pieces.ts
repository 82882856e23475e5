/** V8 copies a part that is shorter; a longer one refers to the text that it was cut from. */
const SHORTEST_REFERENCE = 13

/** The same text in memory of its own. A part that refers to a long text keeps all of that. */
export function ownText(part: string): string {
  return part.length < SHORTEST_REFERENCE ? part : (JSON.parse(JSON.stringify(part)) as string)
}

/** As many pieces are joined at once as take no time worth speaking of. */
const BLOCK = 2048

/**
 * A long text made of small pieces. What `+=` makes is put together when it is
 * first read, all at once: that is quick for a few long texts, and not for a
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
