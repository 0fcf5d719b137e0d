package proxy

// Refused is the rule about addresses, tested from outside as a table.
var Refused = refused
