// npm run build: the library and the command, from lib/ to dist/.
import { rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { endWithMessage, keepDist, makeDist, placeOf } from './build-once.mjs'

const dist = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'dist')

endWithMessage(() => {
  const place = placeOf('package')
  rmSync(dist, { recursive: true, force: true })
  makeDist(dist)
  keepDist(dist, place)
})
