// A conversation with the kernel that can be held again without one: what a transport answered, in order.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { deserialize, serialize } from 'node:v8'

/** @typedef {Parameters<typeof import('ipvs').Ipvs.open>[0] & {}} OpenOptions */
/** @typedef {NonNullable<OpenOptions['transport']>} Transport */

/**
 * @typedef {object} Conversation
 * @property {Uint8Array[]} blocks bytes that the kernel sent, each only once
 * @property {[method: string, answer: unknown][]} answers in which a block is its index
 */

/** A matter of the machine's processes, and not of its kernel: a transport may be without. */
const LOCK = 'lock'

/**
 * The same transport, and a function that tells how many requests it was given that change something.
 *
 * @param {Transport} transport
 * @returns {{ transport: Transport, changes: () => number }}
 */
export function counted(transport) {
  let changes = 0
  return {
    transport: new Proxy(transport, {
      get(target, method) {
        const call = Reflect.get(target, method)
        if (typeof call !== 'function') return call
        if (method !== 'batch') return call.bind(target)
        return (/** @type {Parameters<Transport['batch']>[0]} */ requests) => {
          changes += requests.filter(({ command }) => !READING.has(command)).length
          return target.batch(requests)
        }
      },
    }),
    changes: () => changes,
  }
}

/** The numbers of IPVS_CMD_GET_SERVICE, _DEST, _DAEMON, _CONFIG and _INFO. */
const READING = new Set([4, 8, 11, 13, 15])

/**
 * The same transport, and a function that writes down what it has answered.
 *
 * @param {Transport} transport
 * @returns {{ transport: Transport, save: (file: string) => void }}
 */
export function recorded(transport) {
  /** @type {Conversation} */
  const conversation = { blocks: [], answers: [] }
  const keep = (/** @type {Uint8Array} */ block) => {
    const known = conversation.blocks.findIndex((one) => Buffer.compare(one, block) === 0)
    // A copy: a dump takes its memory back.
    return known >= 0 ? known : conversation.blocks.push(block.slice()) - 1
  }
  return {
    transport: new Proxy(transport, {
      get(target, method) {
        if (method === LOCK) return undefined
        const call = Reflect.get(target, method)
        if (typeof call !== 'function') return call
        return async (/** @type {unknown[]} */ ...given) => {
          const answer = await call.apply(target, given)
          conversation.answers.push([String(method), withBlocks(answer, keep)])
          return answer
        }
      },
    }),
    save: (file) => writeFileSync(file, serialize(conversation)),
  }
}

/**
 * A transport that answers as it did when it was recorded, if it is asked the same, and each time from the thread pool.
 *
 * @param {string} file
 * @returns {Transport}
 */
export function replayed(file) {
  /** @type {Conversation} */
  const { blocks, answers } = deserialize(readFileSync(file))
  const ready = answers.map(([method, answer]) => ({
    method,
    answer: withBlocks(answer, (index) => blocks[Number(index)]),
  }))
  let next = 0
  return /** @type {Transport} */ (
    new Proxy(
      {},
      {
        get: (_, method) =>
          // A promise is resolved with this, and it is none.
          method === 'then' || method === LOCK
            ? undefined
            : async () => {
                await inPool(1)
                const now = ready[next++]
                assert.equal(method, now?.method)
                return now?.answer
              },
      },
    )
  )
}

const inPool = promisify(randomBytes)

/**
 * An answer of a transport with something else for its bytes, and without what cannot be written down.
 *
 * @template Block
 * @param {unknown} answer
 * @param {(block: Block) => unknown} change
 * @returns {unknown}
 */
function withBlocks(answer, change) {
  if (Array.isArray(answer)) return answer.map((one) => withBlocks(one, change))
  if (answer === null || typeof answer !== 'object' || !('messages' in answer)) return answer
  const messages = /** @type {Block | Block[]} */ (answer.messages)
  const changed = Array.isArray(messages) ? messages.map((block) => change(block)) : change(messages)
  return { ...answer, messages: changed, release: undefined }
}
