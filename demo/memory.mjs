// The stage in memory: the kernel of ipvs/testing, on any machine. Its clients are no processes but a few lines here.
import { setTimeout as sleep } from 'node:timers/promises'
import { Ipvs } from 'ipvs'
import { createMemoryKernel } from 'ipvs/testing'
import { SERVERS, VIRTUAL } from './network.mjs'

/** @import { MemoryConnection, MemoryKernel } from 'ipvs/testing' */
/** @import { Answer, Stage } from './story.mjs' */

const PACE = 10
const TICK_MS = 5

/** What a small page takes, besides opening and closing the connection: the request, the answer, and an ACK of it. */
const PAGE = { packetsIn: 2, bytesIn: 200, packetsOut: 1, bytesOut: 250 }
const PIECE = { packetsIn: 1, bytesIn: 52, packetsOut: 1, bytesOut: 1052 }
const PIECE_MS = 100

/** @returns {Promise<Stage>} */
export async function openMemory() {
  const kernel = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport: kernel })
  let last = performance.now()
  // Its clock stands still but for this.
  const timer = setInterval(() => {
    const now = performance.now()
    kernel.advance(((now - last) * PACE) / 1000)
    last = now
  }, TICK_MS)
  return {
    ipvs,
    client: new MemoryClient(kernel),
    pace: PACE,
    place: `Here no Linux does it: this is the kernel in memory that the library brings along for tests (ipvs/testing). It
      answers the bytes that Linux would, keeps the same table, and chooses servers and counts by the same rules. No
      packet moves, and its time runs ${PACE} times as fast as a clock. This is the network that it plays:`,
    servers:
      'they and the client are made up by the demo, which tells the kernel of every packet that would pass.',
    link: '',
    stopA: async () => 'A could be switched off now: nobody needs it any more.',
    async close() {
      clearInterval(timer)
      await ipvs.close()
    },
  }
}

class MemoryClient {
  #kernel
  /** @type {Answer[]} */
  answers = []

  /** @param {MemoryKernel} kernel */
  constructor(kernel) {
    this.#kernel = kernel
  }

  /**
   * @param {string} [path]
   * @returns {Promise<Answer>}
   */
  get(path) {
    return this.download(path).ended
  }

  /** @param {string} [path] */
  download(path = '') {
    const startedAt = Date.now()
    const connection = this.#kernel.connect({ protocol: 'tcp', address: VIRTUAL, port: 80 })
    const server = SERVERS.find(({ address }) => address === connection.realServer?.address)?.name
    const seconds = Number(/download\/([\d.]+)/.exec(path)?.[1] ?? 0)
    const ended = this.#fetch(connection, (seconds * 1000) / PIECE_MS).then((error) => {
      const answer = {
        startedAt,
        ...(server !== undefined && { server }),
        ...(error !== undefined && { error }),
      }
      this.answers.push(answer)
      return answer
    })
    return { begun: Promise.resolve(server), ended }
  }

  /**
   * Gives why not all of it came, if so.
   *
   * @param {MemoryConnection} connection
   * @param {number} pieces
   */
  async #fetch(connection, pieces) {
    if (connection.state === 'REFUSED') return 'connection refused'
    if (!connection.send(PAGE)) return 'no answer'
    for (let piece = 0; piece < pieces; piece++) {
      await sleep(PIECE_MS / PACE)
      if (!connection.send(PIECE)) return 'the connection broke'
    }
    return connection.close() ? undefined : 'the connection broke'
  }
}
