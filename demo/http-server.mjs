// A real server: a plain web server that knows nothing of load balancing. It gives its name with each answer.
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const [name = '', address = ''] = process.argv.slice(2)

const server = createServer(async (request, response) => {
  response.setHeader('x-server', name)
  const seconds = Number(/download\/([\d.]+)/.exec(request.url ?? '')?.[1] ?? 0)
  if (seconds === 0) {
    response.end(`Hello from server ${name}\n`)
    return
  }
  const pieces = seconds * 10
  response.setHeader('content-length', pieces * 1000)
  for (let piece = 0; piece < pieces; piece++) {
    response.write(name.repeat(1000))
    await sleep(100)
  }
  response.end()
})

process.on('disconnect', () => process.exit())
server.listen(80, address, () => {
  process.send?.('ready', undefined, undefined, (error) => {
    // The channel may have closed before anyone listened for that.
    if (error) process.exit()
  })
})
