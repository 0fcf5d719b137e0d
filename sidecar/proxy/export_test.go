package proxy

// The rules about addresses, tested from outside as tables.
var (
	Refused    = refused
	OwnAddress = ownAddress
)
