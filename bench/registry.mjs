// An npm registry on this machine, with the packages that it is given. npm installs from it as from any other, so the
// benchmark compares packages without measuring a network.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'

/**
 * @typedef {{ name: string, version: string, dependencies?: Record<string, string>, engines?: Record<string, string> }} Manifest
 *
 * @typedef {object} Packed
 * @property {Manifest} manifest its package.json
 * @property {Buffer} content the tarball
 */

/** @param {string} file a tarball @returns {Packed} */
export function readPacked(file) {
  const text = execFileSync('tar', ['-xzOf', file, 'package/package.json'], { encoding: 'utf8' })
  return { manifest: JSON.parse(text), content: readFileSync(file) }
}

/**
 * The document that a registry has about a package.
 *
 * @param {readonly Packed[]} versions of one package, the newest last
 * @param {string} url of the registry
 */
export function packumentOf(versions, url) {
  const name = versions[0]?.manifest.name
  /** @type {Record<string, unknown>} */
  const manifests = {}
  let latest = ''
  for (const { manifest, content } of versions) {
    latest = manifest.version
    const integrity = `sha512-${createHash('sha512').update(content).digest('base64')}`
    const tarball = url + tarballPath(manifest)
    manifests[manifest.version] = { ...manifest, dist: { tarball, integrity } }
  }
  return { name, 'dist-tags': { latest }, versions: manifests }
}

/** @param {Manifest} manifest */
const tarballPath = ({ name, version }) => `/${name}/-/${path.posix.basename(name)}-${version}.tgz`

/**
 * @typedef {object} Served
 * @property {number} requests
 * @property {number} tarballs
 * @property {number} tarballBytes
 */

/**
 * Starts the registry.
 *
 * @param {readonly Packed[]} packages those of one name from the oldest to the newest
 * @returns {Promise<{ url: string, served: Served, close: () => void }>}
 */
export async function openRegistry(packages) {
  /** @type {Served} */
  const served = { requests: 0, tarballs: 0, tarballBytes: 0 }
  const server = createServer((request, response) => {
    served.requests++
    // npm encodes only this character of a package's name.
    const asked = request.url?.replace(/%2f/i, '/')
    const versions = packages.filter(({ manifest }) => `/${manifest.name}` === asked)
    const packed = packages.find(({ manifest }) => tarballPath(manifest) === asked)
    if (versions.length > 0) {
      // npm's own registry sends the same times.
      response.setHeader('cache-control', 'public, max-age=300')
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(packumentOf(versions, url)))
    } else if (packed !== undefined) {
      served.tarballs++
      served.tarballBytes += packed.content.length
      response.setHeader('cache-control', 'public, immutable, max-age=31557600')
      response.setHeader('content-type', 'application/octet-stream')
      response.end(packed.content)
    } else {
      response.statusCode = 404
      response.end()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { url, served, close }
}
