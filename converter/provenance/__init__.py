"""What a conversion says of itself: conversion.json and the in-toto statement."""
