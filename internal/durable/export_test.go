package durable

var Claim = claim
