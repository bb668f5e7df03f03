"""The record of a conversion: conversion.json and the in-toto statement."""
