// The client: sends the requests that it is told to, each over a connection of its own, and tells how they went.
import { get } from 'node:http'
import { finished } from 'node:stream/promises'

/** Nothing for so long means that the answer is lost. */
const PATIENCE_MS = 10_000

process.on('message', (/** @type {{ id: number, url: string }} */ { id, url }) => {
  const startedAt = Date.now()
  const fail = (/** @type {Error} */ { message }) => tell({ id, error: message, startedAt })

  const request = get(url, { agent: false, timeout: PATIENCE_MS }, async (response) => {
    const server = response.headers['x-server']
    tell({ id, server, begun: true })
    try {
      // Throws if the connection breaks before all that was promised (content-length) is there.
      await finished(response.resume())
      tell({ id, server, startedAt })
    } catch (error) {
      fail(/** @type {Error} */ (error))
    }
  })
  request.on('timeout', () => request.destroy(new Error(`no answer for ${PATIENCE_MS / 1000} s`)))
  request.on('error', fail)
})
process.on('disconnect', () => process.exit())
tell('ready')

/** @param {unknown} message */
function tell(message) {
  // The channel may have closed before anyone listened for that.
  process.send?.(message, undefined, undefined, (error) => {
    if (error) process.exit()
  })
}
