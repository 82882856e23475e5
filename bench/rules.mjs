// The table that every contender writes and reads, as the library takes it and as ipvsadm says it. floor.c makes the
// same one by itself.

/**
 * @typedef {object} Rule
 * @property {import('ipvs').ServiceSpec & import('ipvs').AddressServiceKey} service
 * @property {import('ipvs').RealServerSpec[]} realServers
 */

/**
 * @param {number} services
 * @param {number} servers real servers of each
 * @returns {Rule[]}
 */
export function rules(services, servers) {
  return Array.from({ length: services }, (_, service) => ({
    service: { protocol: 'tcp', address: address(0, service), port: 80, scheduler: 'wrr' },
    realServers: Array.from({ length: servers }, (_, server) => ({
      address: address(1 + server, service),
      port: 8080,
      method: /** @type {const} */ ('masquerade'),
      weight: 1 + ((service + server) % 100),
    })),
  }))
}

/**
 * What `ipvsadm -Sn` says of a table, which is what `ipvsadm -R` takes. The kernel lists services as its hash table has
 * them and real servers newest first, so compare sorted lines.
 *
 * @param {Rule[]} table
 */
export function ipvsadmLines(table) {
  return table.flatMap(({ service, realServers }) => {
    const key = `-t ${service.address}:${service.port}`
    return [
      `-A ${key} -s ${service.scheduler}`,
      ...realServers.map(({ address, port, weight }) => `-a ${key} -r ${address}:${port} -m -w ${weight}`),
    ]
  })
}

/** @param {number} network at most 29,951 @param {number} service at most 63,999 */
function address(network, service) {
  return `${10 + (network >> 8)}.${network % 256}.${Math.floor(service / 250)}.${1 + (service % 250)}`
}
