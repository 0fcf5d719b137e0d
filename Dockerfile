# The sidecar as a container beside the host's engine. `make container` builds
# it from what `make build` has built; docs/install.md says how to run it.
FROM scratch
COPY bin/ipdc bin/ipdc-guest /
ENV PATH=/ IPDC_PATH=/var/lib/ipdc
HEALTHCHECK --interval=30s --start-period=60s CMD ["/ipdc", "node", "status", "-q"]
ENTRYPOINT ["/ipdc"]
CMD ["node", "start"]
